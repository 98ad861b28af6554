"""What every long-running part needs: ticker, backoff, completions, signals."""
