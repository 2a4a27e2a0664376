"""How many checks per second do weft.authz, pycasbin, cedarpy, oso and sqlite answer in one process?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from _authz_peers import Access, Peer, open_peers
from _report import Report, elapsed_s, scale_from_arguments

from weft.core.randomness import derived_random

DOCUMENTS, USERS, GROUPS = 2_000, 1_000, 100
PER_DOCUMENT, GROUPS_PER_DOCUMENT, GROUPS_PER_USER = 3, 2, 3
QUESTIONS = 5_000
SLOW = 0.3
"""Seconds; a peer that takes longer for its first hundred questions is not asked them all."""
ROUNDS = 3


def access(scale: float) -> Access:
    """Documents with some viewers each and some groups of viewers; about 13,000 tuples."""
    rng = derived_random(7, "peers")
    documents = [f"d{index}" for index in range(max(20, int(DOCUMENTS * scale)))]
    users = [f"u{index}" for index in range(max(10, int(USERS * scale)))]
    groups = [f"g{index}" for index in range(max(5, int(GROUPS * scale)))]
    return Access(
        [(document, user) for document in documents for user in rng.sample(users, PER_DOCUMENT)],
        [(document, group) for document in documents for group in rng.sample(groups, GROUPS_PER_DOCUMENT)],
        [(group, user) for user in users for group in rng.sample(groups, GROUPS_PER_USER)],
    )


def questions(granted: Access, number: int) -> dict[str, list[tuple[str, str]]]:
    """Of each kind: allowed by name, allowed by a group, and denied."""
    rng = derived_random(8, "peers")
    viewers, of_group = set(granted.viewers), dict(granted.group_viewers)
    in_group: dict[str, list[str]] = {}
    for group, user in granted.members:
        in_group.setdefault(group, []).append(user)
    users = sorted({user for _, user in granted.members})
    named = [rng.choice(granted.viewers) for _ in range(number)]
    through = [
        (document, rng.choice(in_group[group])) for document, group in of_group.items() if group in in_group
    ]
    groups_of_user: dict[str, set[str]] = {}
    for group, user in granted.members:
        groups_of_user.setdefault(user, set()).add(group)
    groups_of_document: dict[str, set[str]] = {}
    for document, group in granted.group_viewers:
        groups_of_document.setdefault(document, set()).add(group)
    denied = []
    while len(denied) < number:
        document, user = rng.choice(granted.viewers)[0], rng.choice(users)
        if (document, user) not in viewers and groups_of_user[user].isdisjoint(groups_of_document[document]):
            denied.append((document, user))
    return {
        "allowed by name": named,
        "allowed through a group": [rng.choice(through) for _ in range(number)],
        "denied": denied,
    }


def per_second(peer: Peer, asked: list[tuple[str, str]]) -> float:
    """The best of some rounds: other work on the machine can only slow one down."""
    first = asked[:100]
    if elapsed_s(lambda: [peer.allowed(*one) for one in first]) > SLOW:
        asked = first
    return len(asked) / min(elapsed_s(lambda: [peer.allowed(*one) for one in asked]) for _ in range(ROUNDS))


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    granted = access(scale)
    with tempfile.TemporaryDirectory() as folder:
        peers = open_peers(granted, Path(folder))
        for kind, asked in questions(granted, max(20, int(QUESTIONS * scale))).items():
            for name, peer in peers.items():
                for document, user in asked[:100]:
                    allowed = peer.allowed(document, user)
                    assert allowed is (kind != "denied"), f"{name} answers {allowed} for {user} on {document}"
            for name, peer in peers.items():
                floor = f"{kind}: weft.authz" if name != "weft.authz" else ""
                report.add(f"{kind}: {name}", per_second(peer, asked), "checks/s", floor=floor)
    tuples = sum(map(len, granted))
    report.note(f"{tuples:,} tuples. `× floor` says how many times as long as weft.authz a peer takes.")
    report.note(
        "weft.authz is durable, keeps history and answers with a zookie; the peers only hold the present."
    )
    report.print()


if __name__ == "__main__":
    main()
