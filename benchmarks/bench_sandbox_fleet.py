"""Simulated: how long do requests wait for a sandbox, and how even are the clients' parts?"""

from __future__ import annotations

import gc

from _report import Report, Stopwatch, percentile, scale_parser

from weft.agent.sandbox.fleet.events import Priority
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.scheduler import Scheduler
from weft.testing.sandbox.fleet import CLIENTS, Fifo, Outcome, RandomPlacement, Simulation, arrivals

BOXES = 100_000
"""Sandboxes that all machines together can hold at once."""
FLOOR = "FIFO"


def add(report: Report, name: str, outcome: Outcome) -> None:
    """Times beside those of FIFO; parts of a whole."""
    for priority, waits in outcome.waits_s.items():
        for percent in (50, 95, 99):
            what = f"waited, {priority.name.lower()}, p{percent}"
            floor = "" if name == FLOOR else f"{FLOOR}: {what}"
            report.add(f"{name}: {what}", max(1e-6, percentile(waits, percent)), "s", floor=floor)
    report.add(f"{name}: Jain's fairness", outcome.fairness, "of 1")
    report.add(f"{name}: utilisation", outcome.utilisation, "of 1")
    report.add(f"{name}: cold starts", max(1e-9, outcome.cold), "of 1")


def main() -> None:
    parser = scale_parser(__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all that is left to chance")
    arguments = parser.parse_args()
    boxes = max(500, int(BOXES * arguments.scale))
    coming = arrivals(boxes, arguments.seed)
    gc.disable()  # millions of objects that live to the end
    report = Report(str(__doc__), arguments.scale)
    fifo, chance = Fifo(), RandomPlacement(arguments.seed)
    fair = Scheduler(Policy(waiting=len(coming)))
    watches = {}
    for name, scheduler in ((FLOOR, fifo), ("random placement", chance), ("weft", fair)):
        with Stopwatch() as watches[name]:
            outcome = Simulation(scheduler, boxes, coming, arguments.seed).run()
        add(report, name, outcome)
        report.add(f"{name}: sandboxes at once, at most", outcome.peak_boxes, "sandboxes")
        report.add(f"{name}: simulated in", watches[name].seconds, "s")
    assert {len(coming)} == {sum(map(len, outcome.waits_s.values()))}
    assert Priority.BATCH in outcome.waits_s
    report.add("requests", len(coming), "requests")
    report.note(
        f"A simulation: {CLIENTS} invented clients, seed {arguments.seed}; only the ratios mean something."
    )
    report.print()


if __name__ == "__main__":
    main()
