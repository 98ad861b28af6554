"""``configuration``: the commands about configuration files."""

from praefect.cli.command import Command
from praefect.cli.configuration_validate import COMMAND as VALIDATE

COMMAND = Command(
    name="configuration",
    summary="work with configuration files",
    description="Looks at configuration files without running anything.",
    children=(VALIDATE,),
)
