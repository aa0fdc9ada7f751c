"""A command whose message for an unknown option names --set where that takes it."""

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command; what describes crossbars, such as --rows, is no option of its own but a key of --set."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; an unknown option's error proposes `--set` if that is what the option was meant for."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # NoSuchOption of click, of which typer has a copy of its own
            name = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
            options = {option for parameter in self.params for option in parameter.opts}
            if name and {"--set", "--device"} <= options:
                from aimc_robust.targets.entries import CrossbarTable

                if name.partition(".")[0] in CrossbarTable.model_fields:
                    error.possibilities = [f"--set {name}=VALUE"]  # type: ignore[attr-defined]
            raise
