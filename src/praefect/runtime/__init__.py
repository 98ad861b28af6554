"""What every long-running part needs: clock, ticker, backoff, completions, signals.

A *ticker* says when a loop's next pass is due. A *backoff* says how long to wait before trying again. A *completion*
is work that runs to its end whatever became of whoever asked for it. A *stop* is the wish that the process end.
"""
