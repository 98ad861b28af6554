"""The package's own file of secrets, which stands beside a gitlab.rb and may be copied from host to host."""

import json
from pathlib import Path
from typing import Final

from praefect.config.omnibus.faults import GitlabRbError, Place

FILE_NAME: Final = "gitlab-secrets.json"


def shell_secret_beside(gitlab_rb: str) -> str:
    """The secret of gitlab-shell; empty if there is no such file or it has none.

    Raises:
        GitlabRbError: the file is there and cannot be read.
    """
    path = Path(gitlab_rb).parent / FILE_NAME
    if not path.exists():
        return ""
    try:
        secrets = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise GitlabRbError(Place(str(path), 1), "the file of secrets cannot be read") from exc
    shell = secrets.get("gitlab_shell") if isinstance(secrets, dict) else None
    secret = shell.get("secret_token") if isinstance(shell, dict) else None
    return secret if isinstance(secret, str) else ""
