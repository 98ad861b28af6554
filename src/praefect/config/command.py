"""``config_command``: an executable that prints what the file shall not hold, for instance secrets."""

import shutil
import signal
import subprocess
from typing import Any

from praefect.config.faults import ConfigError, describe_os_error
from praefect.config.json_text import JsonSyntaxError, parse_json
from praefect.config.quoting import quote


def run_config_command(command: str) -> Any:
    """Run the executable, without arguments and without a shell, and return the JSON document that it prints.

    Raises:
        ConfigError: it cannot be run, failed, or printed something else.
    """
    executable = command if "/" in command else shutil.which(command)
    if executable is None:
        raise ConfigError(f"running config command: exec: {quote(command)}: executable file not found in $PATH")
    try:
        result = subprocess.run([executable], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as exc:
        raise ConfigError(f"running config command: {describe_os_error(exc, 'fork/exec', executable)}") from exc
    if result.returncode != 0:
        stderr = result.stderr.decode(errors="surrogateescape")
        raise ConfigError(f"running config command: {_ending(result.returncode)}, stderr: {quote(stderr)}")
    try:
        return parse_json(result.stdout.decode(errors="replace"))
    except JsonSyntaxError as exc:
        raise ConfigError(f"unmarshalling generated config: {exc}") from exc


def _ending(returncode: int) -> str:
    if returncode > 0:
        return f"exit status {returncode}"
    description = signal.strsignal(-returncode) or str(-returncode)
    return f"signal: {description.lower()}"
