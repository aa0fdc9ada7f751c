"""Output of `recommend`: the device's errors, the proposed method, and the result of the sweep."""

from rich.console import Console

from aimc_robust.cli.printed_table import print_table
from aimc_robust.evaluation.keep_digital import NO_PROPOSAL
from aimc_robust.experiments.recommend.run import Recommendation
from aimc_robust.plot.labels import direction
from aimc_robust.report.formatting import format_significant
from aimc_robust.report.metric_text import difference_text, interval_text
from aimc_robust.report.recommendation.page import measurement_text


def show(recommendation: Recommendation) -> None:
    """Print the errors of each layer, the equivalent noise, the proposal, and the result of the sweep."""
    console = Console(highlight=False, markup=False)
    heads = {
        "std_layer_max": "std / max|w|",
        "rms_layer_max": "rms / max|w|",
        "rms_filter_max": "rms / filter's max|w|",
    }
    rows = [
        {"layer": row["layer"], "weights": f"{row['weights']:,}"}
        | {head: format_significant(row[key]) for key, head in heads.items()}
        for row in recommendation.layers.to_dict("records")
    ]
    print_table(rows, title=f"Errors of {recommendation.target} on this model")
    console.print(measurement_text(recommendation).replace("**", ""), soft_wrap=True)
    proposal, verdict, metric = recommendation.proposal, recommendation.verdict, recommendation.task.primary
    console.print(f"\nproposal: {proposal.label}", style="bold")
    for reason in proposal.reasons:
        console.print(f"  {reason}", soft_wrap=True)
    if (kept := recommendation.digital_layers) is not None:
        console.print(f"\n{kept['sentence']}", style="bold", soft_wrap=True)
        if kept["layers"] and kept["judgement"] != NO_PROPOSAL:
            console.print(f"  digital: {', '.join(kept['layers'])}", soft_wrap=True)
        if recommendation.digital_by_choice:
            console.print(f"  digital by your choice: {', '.join(recommendation.digital_by_choice)}", soft_wrap=True)
    if verdict is None:
        return
    console.print(f"\n{verdict.judgement}: {verdict.sentence}", style="bold", soft_wrap=True)
    if len(verdict.table):
        console.print(f"  proposal − alternative{direction(metric)}:")
    for row in verdict.table.to_dict("records"):
        question = proposal.questions.get(row["second_model"], "")
        console.print(
            f"  against {row['second_model']} ({question}?): {difference_text(metric, row['difference'])} "
            f"{interval_text(metric, row['ci_low'], row['ci_high'])}",
            soft_wrap=True,
        )
