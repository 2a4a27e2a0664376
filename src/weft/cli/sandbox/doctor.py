"""`weft sandbox doctor`: what this host can promise, and how to make it promise more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer

from weft.agent.sandbox.host import Finding, host_report
from weft.agent.sandbox.layers import Layer, layers
from weft.agent.sandbox.named import OF_IMAGES
from weft.agent.sandbox.provider import REQUIRED, SandboxProvider
from weft.cli.output import Json, emit, print_table, say
from weft.cli.sandbox.options import Image, Provider

_DEFAULT: Final = Provider.NAMESPACES
# The others answer from this host alone; this one would start a pod in whatever cluster is configured.
_ONLY_IF_NAMED: Final = Provider.KUBERNETES


def doctor(
    provider: Annotated[
        Provider | None, typer.Option(help="Look at this one only.", show_default="all but kubernetes")
    ] = None,
    image: Image = None,
    json: Json = False,
) -> None:
    """Tell what this host can promise, for this user, and what to do about the rest.

    Each layer is tried, and a sandbox opened with each provider. The answer is 0 where the default provider,
    or the one that is named, holds all that a sandbox must hold; else 1. Naming kubernetes starts a pod.

    Example: weft sandbox doctor
    """
    asked = [provider] if provider else [each for each in Provider if each is not _ONLY_IF_NAMED]
    reports = {each: host_report(_made(each, image)) for each in asked}
    tried = layers()
    decisive = provider or _DEFAULT
    held = {finding.promise for finding in reports[decisive] if finding.available}
    missing = REQUIRED - held
    if json:
        _emit(tried, reports, decisive, not missing)
    else:
        _tell(tried, reports)
        verdict = "holds all that a sandbox must hold"
        if missing:
            verdict = "does not hold " + ", ".join(sorted(each.name.lower() for each in missing))
        say(f"\n{decisive} {verdict}")
    raise typer.Exit(int(bool(missing)))


def _made(provider: Provider, image: str | None) -> SandboxProvider:
    return provider.make(image if provider in OF_IMAGES else None)


def _tell(tried: Sequence[Layer], reports: Mapping[Provider, Sequence[Finding]]) -> None:
    rows = [(each.name, _word(each), each.detail or "") for each in tried]
    print_table(("layer", "here", "detail"), rows)
    say("")
    by_promise = list(zip(*reports.values(), strict=True))
    print_table(
        ("promise", *reports, "which is"),
        [
            (
                row[0].promise.name.lower(),
                *("yes" if one.available else "no" for one in row),
                row[0].promise.value,
            )
            for row in by_promise
        ],
    )
    fixes = [(each.name, each.fix) for each in tried if each.fix]
    for name, report in reports.items():
        by_fix: dict[str, list[str]] = {}
        for finding in report:
            if not finding.available:
                by_fix.setdefault(finding.how_to_improve, []).append(finding.promise.name.lower())
        for fix, promises in by_fix.items():
            what = "everything" if len(promises) == len(report) else ", ".join(promises)
            fixes.append((f"{name}: {what}", fix))
    for what, fix in fixes:
        say(f"\n{what}\n  {fix}")


def _word(layer: Layer) -> str:
    if layer.available:
        return "yes"
    return "no" if layer.needed else "no, can do without"


def _emit(
    tried: Sequence[Layer],
    reports: Mapping[Provider, Sequence[Finding]],
    decisive: Provider,
    sound: bool,
) -> None:
    for layer in tried:
        emit(
            True,
            {
                "layer": layer.name,
                "available": layer.available,
                "needed": layer.needed,
                "detail": layer.detail,
                "fix": layer.fix,
            },
            "",
        )
    for name, report in reports.items():
        for finding in report:
            told = {"provider": name, "promise": finding.promise.name.lower(), "held": finding.available}
            told |= {"required": finding.promise in REQUIRED, "fix": finding.how_to_improve}
            emit(True, told, "")
    emit(True, {"provider": decisive, "holds_required": sound}, "")
