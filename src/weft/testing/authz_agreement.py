"""Plays a case of the corpus, then asks every question about it and tells where an answer is not as expected.

Everything is asked right after its step, and again at the end at the exact snapshot of that step where it is
no longer the newest. Another face with the same methods, `AsyncAuthz` or a client, is asked all of it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, cast

from weft.authz import EXACT, AsyncAuthz, Authz, Check, Decision, Zookie
from weft.authz.conditions import Conditions, Missing
from weft.authz.evaluate import Value
from weft.authz.results import Page
from weft.authz.schema import Language, parse_schema
from weft.authz.schema.model import Schema
from weft.authz.serving.settings import Serving
from weft.authz.store import TupleStore, Write
from weft.authz.tuples import ObjectRef, RelationTuple, User, parse_instant, parse_tuple, parse_user
from weft.core.errors import WeftError
from weft.testing.authz import Oracle
from weft.testing.authz_corpus import Case, Refused, Step, questions
from weft.testing.authz_tree import holds_in_tree
from weft.testing.clock import START_US, VirtualClock

_PAGE: Final = 2
"""Small, so that lists of three items have two pages."""
_LINES: Final = 2_000
"""More than any explanation in the corpus needs, unless it repeats itself."""


class Stage(NamedTuple):
    """Where a case is played: an empty store, the clock that it goes by, and the door to it."""

    store: TupleStore
    clock: VirtualClock
    authz: Authz


class Moment(NamedTuple):
    """One step as it was played: what was there, what is given, and what is expected."""

    step: Step
    zookie: Zookie
    now_us: int
    schema: Schema
    stored: tuple[RelationTuple, ...]
    expected: Mapping[RelationTuple, Value]

    @property
    def given(self) -> dict[str, Any]:
        return {"context": self.step.context, "contextual_tuples": self.step.contextual_tuples or ()}

    @property
    def tuples(self) -> tuple[RelationTuple, ...]:
        """What is stored, with the contextual tuples as if they had been touched."""
        present = {item.key: item for item in self.stored}
        present.update({item.key: item for item in map(parse_tuple, self.step.contextual_tuples or ())})
        return tuple(present.values())

    def judge(self) -> Callable[[RelationTuple], bool | None]:
        """Whether a tuple's condition holds; None where that depends on missing context."""
        conditions = Conditions(self.schema)

        def judge(item: RelationTuple) -> bool | None:
            if item.condition is None:
                return True
            found = conditions.evaluate(item.condition, self.step.context or {})
            return None if isinstance(found, Missing) else found

        return judge

    def certain(self, judge: Callable[[RelationTuple], bool | None]) -> bool:
        """Whether no condition is missing context."""
        return all(judge(item) is not None for item in self.tuples if self.schema.allows(item))


@contextmanager
def open_stage(url: str, case: Case, serving: Serving = Serving()) -> Iterator[Stage]:  # noqa: B008
    """A stage for the case over `memory:` or an empty directory."""
    from weft.authz.stores import open_store

    clock = VirtualClock()
    store = open_store(url, clock=clock)
    with Authz(store, clock=clock, max_depth=case.max_depth, serving=serving) as authz:
        yield Stage(store, clock, authz)


def run_case(case: Case, stage: Stage, face: Authz | None = None) -> list[str]:
    """Everything that is not as the case expects, each with the question that was asked; best empty.

    `face` has the methods of `Authz`, and is asked everything too.
    """
    found: list[str] = []
    played: dict[str, Moment] = {}
    moments: list[Moment] = []
    before: Moment | None = None
    for step in case.sequence():
        moment = _play(case, step, stage, before, played)
        before = moment if not step.at else before
        moments.append(moment)
        played.setdefault(step.name, moment)
        found += _refusals(case, moment, stage)
        if not step.at:
            found += ask(stage.authz, moment, stage.clock, None)
    for moment in moments:
        if face or moment.step.at or moment.zookie != moments[-1].zookie:
            found += ask(face or stage.authz, moment, stage.clock, EXACT(moment.zookie))
    found += check_together(face or stage.authz, moments, stage.clock)
    return [f"{case.place}: {text}" for text in dict.fromkeys(found)]


def moments_of(case: Case, stage: Stage) -> list[Moment]:
    """The moments of a case, played and not asked; for the oracle."""
    played: dict[str, Moment] = {}
    moments: list[Moment] = []
    before: Moment | None = None
    for step in case.sequence():
        moments.append(_play(case, step, stage, before, played))
        before = moments[-1] if not step.at else before
        played.setdefault(step.name, moments[-1])
    return moments


def ask(face: Authz, moment: Moment, clock: VirtualClock, at: EXACT | None) -> list[str]:
    """What is not as expected at one moment, by every question."""
    clock.set(moment.now_us)
    name = f"step `{moment.step.name}`: " if moment.step.name else ""
    return [f"{name}{kind}: {text}" for kind, asks in QUESTIONS.items() for text in asks(face, moment, at)]


def oracle_disagreements(moment: Moment) -> list[str]:
    """What set algebra over all tuples gives otherwise than expected."""
    asked = list(moment.expected)
    if not asked:
        return []
    judge = moment.judge()
    oracle = Oracle(
        moment.schema,
        moment.tuples,
        now_us=moment.now_us,
        judge=judge,
        users=[item.user for item in asked],
        objects=[item.object for item in asked],
    )
    certain = moment.certain(judge)
    return [
        f"oracle: `{item}` is {value}, expected {_shown(expected)}"
        for item, expected in moment.expected.items()
        if not agrees(expected, value := oracle.value(item.object, item.relation, item.user), certain)
    ]


def agrees(expected: Value, value: bool | None, certain: bool) -> bool:
    """Whether an answer of set algebra is the expected one. It says None also for an exclusion that depends
    on itself, which denies; where no context is missing, None means only that."""
    if isinstance(expected, bool):
        return value is expected or (value is None and certain and not expected)
    return value is None


# playing


def _play(
    case: Case, step: Step, stage: Stage, before: Moment | None, played: Mapping[str, Moment]
) -> Moment:
    now_us = parse_instant(step.now) if step.now else before.now_us if before else START_US
    stage.clock.set(now_us)
    if step.at:
        past = played[step.at]
        return past._replace(step=step, now_us=now_us, expected=_expected(step))
    schema = _parsed(step.schema, case.language) if step.schema else _schema(before)
    present = {item.key: item for item in (before.stored if before else ())}
    zookie = before.zookie if before else None
    if step.schema:
        zookie = stage.authz.write_schema(step.schema, case.language)
    if step.stored:
        stage.store.write(Write(touch=tuple(map(parse_tuple, step.stored))))
        zookie = stage.authz.read().zookie
    if step.tuples or step.create or step.delete:
        zookie = stage.authz.write(touch=step.tuples, create=step.create, delete=step.delete)
    for text in step.delete:
        present.pop(parse_tuple(text).key, None)
    for item in map(parse_tuple, (*step.stored, *step.tuples, *step.create)):
        present[item.key] = item
    assert zookie is not None
    return Moment(step, zookie, now_us, schema, tuple(present.values()), _expected(step))


_parsed = lru_cache(parse_schema)


def _schema(before: Moment | None) -> Schema:
    return before.schema if before else Schema()


def _expected(step: Step) -> dict[RelationTuple, Value]:
    expected: dict[RelationTuple, Value] = dict.fromkeys(questions(step.allowed), True)
    expected.update(dict.fromkeys(questions(step.denied), False))
    for question, names in zip(questions(step.conditional), step.conditional.values(), strict=True):
        expected[question] = frozenset(names)
    return expected


def _refusals(case: Case, moment: Moment, stage: Stage) -> Iterator[str]:
    head = stage.store.head()
    for refused in moment.step.refused:
        for name, attempt in _attempts(refused, case.language, moment, stage.authz):
            try:
                attempt()
            except WeftError as error:
                if error.code != refused.code or refused.message not in str(error):
                    yield f"refused: {name} fails with {error.code}: {error}"
            else:
                yield f"refused: {name} succeeds, expected {refused.code}: {refused.message}"
    if stage.store.head() != head:
        yield "refused: something was written all the same"


def _attempts(
    refused: Refused, language: Language, moment: Moment, authz: Authz
) -> Iterator[tuple[str, Callable[[], object]]]:
    if refused.schema:
        yield "the schema", lambda: authz.write_schema(refused.schema, language)
    elif refused.check:
        [item] = questions([refused.check])
        question = item.object, item.relation, item.user
        yield f"check of `{item}`", lambda: authz.check(*question, **moment.given)
        yield f"check_many of `{item}`", lambda: authz.check_many([Check(*question)], **moment.given)
        yield f"explain of `{item}`", lambda: authz.explain(*question, **moment.given)
    else:
        yield (
            "the write",
            lambda: authz.write(
                touch=refused.tuples,
                create=refused.create,
                delete=refused.delete,
                must_exist=refused.must_exist,
                must_not_exist=refused.must_not_exist,
            ),
        )


# asking


def _check(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    for item in moment.expected:
        decision = face.check(item.object, item.relation, item.user, at=at, **moment.given)
        yield from _unlike(moment, item, _value(decision))


def _check_many(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    asked = [*moment.expected, *list(moment.expected)[::-1]]
    checks = [Check(item.object, item.relation, item.user) for item in asked]
    for item, decision in zip(asked, face.check_many(checks, at=at, **moment.given), strict=True):
        yield from _unlike(moment, item, _value(decision))


def check_together(face: Authz, moments: Iterable[Moment], clock: VirtualClock) -> Iterator[str]:
    """What differs when steps that share a snapshot are checked in one call, each with its own context."""
    groups: dict[tuple[Zookie, int], list[Moment]] = {}
    for moment in moments:
        groups.setdefault((moment.zookie, moment.now_us), []).append(moment)
    for (zookie, now_us), group in groups.items():
        clock.set(now_us)
        asked = [(moment, item) for moment in group for item in moment.expected]
        checks = [
            Check(
                item.object,
                item.relation,
                item.user,
                moment.step.context or {},
                moment.step.contextual_tuples or (),
            )
            for moment, item in asked
        ]
        decisions = face.check_many(checks, at=EXACT(zookie))
        for (moment, item), decision in zip(asked, decisions, strict=True):
            for text in _unlike(moment, item, _value(decision)):
                yield f"check_many together: {text}"


def _explain(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    for item in moment.expected:
        question = item.object, item.relation, item.user
        found = face.explain(*question, at=at, **moment.given)
        yield from _unlike(moment, item, _value(found.decision))
        verdict = found.reason.verdict.split(" ")[0]
        if verdict != _shown(_value(found.decision)).split(" ")[0] and not (verdict == "loop" and found.loop):
            yield f"`{item}` is {_shown(_value(found.decision))} by a reason that is {verdict}"
        if sum(1 for _ in islice(found.reason.lines(), _LINES)) == _LINES:
            yield f"`{item}` is explained in more than {_LINES:,} lines"
        given = moment.given
        for text in found.would_allow:
            given["contextual_tuples"] = [*moment.given["contextual_tuples"], text]
            if not face.check(*question, at=at, **given):
                yield f"`{item}` is not allowed by `{text}`, which it says would allow it"
    for question_text, parts in moment.step.explain.items():
        [item] = questions([question_text])
        told = str(face.explain(item.object, item.relation, item.user, at=at, **moment.given))
        for part in parts:
            if part not in told:
                yield f"`{item}` is explained without `{part}`: {told}"


def _list_objects(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    for namespace, relation, user in dict.fromkeys(
        (item.object.namespace, item.relation, item.user) for item in moment.expected
    ):
        listed = _Listed(_pages(face.list_objects, namespace, relation, user, at=at, **moment.given))
        for item in moment.expected:
            if (item.object.namespace, item.relation, item.user) == (namespace, relation, user):
                yield from _unlike(moment, item, listed.value(str(item.object)))
        yield from listed.repeated()
    for text, items in moment.step.list_objects.items():
        namespace, _, rest = text.partition("#")
        relation, _, user_text = rest.partition("@")
        listed = _Listed(_pages(face.list_objects, namespace, relation, user_text, at=at, **moment.given))
        yield from _not_the_list(text, listed.shown(), items)


def _list_subjects(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    for object_, relation, kind in dict.fromkeys(
        (item.object, item.relation, _kind(item.user)) for item in moment.expected
    ):
        listed = _Listed(_pages(face.list_subjects, object_, relation, kind, at=at, **moment.given))
        for item in moment.expected:
            if (item.object, item.relation, _kind(item.user)) == (object_, relation, kind):
                everybody = f"{kind}:*" if "#" not in kind else ""
                yield from _unlike(moment, item, listed.value(str(item.user), everybody))
        yield from listed.repeated()
    for text, items in moment.step.list_subjects.items():
        userset, _, kind = text.rpartition("@")
        whom = parse_user(userset)
        listed = _Listed(_pages(face.list_subjects, whom.object, whom.relation, kind, at=at, **moment.given))
        yield from _not_the_list(text, listed.shown(), items)


def _list_permissions(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    for object_, user in dict.fromkeys((item.object, item.user) for item in moment.expected):
        found = _permissions(face, moment, at, object_, user)
        for item in moment.expected:
            if (item.object, item.user) == (object_, user):
                yield from _unlike(moment, item, found.get(item.relation, False))
    for text, items in moment.step.list_permissions.items():
        object_text, _, user_text = text.rpartition("@")
        found = _permissions(face, moment, at, object_text, user_text)
        shown = [_item(name, value) for name, value in found.items()]
        yield from _not_the_list(text, shown, items)


def _permissions(
    face: Authz, moment: Moment, at: EXACT | None, object_: ObjectRef | str, user: User | str
) -> dict[str, Value]:
    found = face.list_permissions(object_, user, at=at, **moment.given)
    return {permission.name: _value(permission.decision) for permission in found}


def _expand(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    contextual = moment.given["contextual_tuples"]
    for object_, relation in dict.fromkeys((item.object, item.relation) for item in moment.expected):
        tree = face.expand(object_, relation, at=at, contextual_tuples=contextual)
        judge = moment.judge()
        certain = moment.certain(judge)
        for item, expected in moment.expected.items():
            if (item.object, item.relation) == (object_, relation):
                value = holds_in_tree(tree, item.user, judge)
                if not agrees(expected, value, certain):
                    yield f"`{item}` is {value} in the tree, expected {_shown(expected)}"
    for text, users in moment.step.expand.items():
        whom = parse_user(text)
        tree = face.expand(whom.object, whom.relation, at=at, contextual_tuples=contextual)
        yield from _not_the_list(text, sorted(set(tree.users())), users)


def _read(face: Authz, moment: Moment, at: EXACT | None) -> Iterator[str]:
    standing = [
        item for item in moment.stored if moment.schema.allows(item) and not item.expired(moment.now_us)
    ]
    found = [item for page in _pages(face.read, at=at) for item in page.items]
    yield from _not_the_list("everything", sorted(map(str, found)), sorted(map(str, standing)))
    for text in {str(item.object) for item in standing}:
        found = [item for page in _pages(face.read, text, at=at) for item in page.items]
        of_object = [str(item) for item in standing if str(item.object) == text]
        yield from _not_the_list(text, sorted(map(str, found)), sorted(of_object))
    for text in {str(item.user) for item in standing}:
        found = [item for page in _pages(face.read, user=text, at=at) for item in page.items]
        of_user = [str(item) for item in standing if str(item.user) == text]
        yield from _not_the_list(text, sorted(map(str, found)), sorted(of_user))
    if moment.step.read is not None:
        shown = sorted(map(str, standing))
        yield from _not_the_list("everything that stands", shown, sorted(moment.step.read))


QUESTIONS: Final[Mapping[str, Callable[[Authz, Moment, EXACT | None], Iterator[str]]]] = {
    "check": _check,
    "check_many": _check_many,
    "expand": _expand,
    "explain": _explain,
    "list_objects": _list_objects,
    "list_permissions": _list_permissions,
    "list_subjects": _list_subjects,
    "read": _read,
}


class _Listed:
    """All pages of one list."""

    def __init__(self, pages: Iterable[Page[str]]) -> None:
        self.items: list[str] = []
        self.values: dict[str, Value] = {}
        self.excluded: dict[str, None] = {}
        for page in pages:
            self.items += [*page.items, *(conditional.item for conditional in page.conditional)]
            self.values.update(dict.fromkeys(page.items, True))
            self.values.update({c.item: frozenset(c.missing) for c in page.conditional})
            self.excluded.update(dict.fromkeys(page.excluded))

    def value(self, item: str, everybody: str = "") -> Value:
        """What the list says of an item; who is not named fares like everybody."""
        found = self.values.get(item)
        if found is None:
            found = False if item in self.excluded else self.values.get(everybody, False)
        return found

    def repeated(self) -> Iterator[str]:
        if len(set(self.items)) != len(self.items):
            yield f"the list repeats itself: {self.items}"

    def shown(self) -> list[str]:
        without = (name for name in self.excluded if self.values.get(name) is None)
        return [*(_item(name, value) for name, value in self.values.items()), *(f"not {n}" for n in without)]


def _pages(ask_page: Callable[..., Page[Any]], *arguments: Any, **options: Any) -> Iterator[Page[Any]]:
    cursor = None
    while True:
        page = ask_page(*arguments, limit=_PAGE, cursor=cursor, **options)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def _kind(user: User) -> str:
    return f"{user.namespace}#{user.relation}" if user.relation else user.namespace


def _value(decision: Decision) -> Value:
    return frozenset(decision.missing) if decision.conditional else decision.allowed


def _unlike(moment: Moment, item: RelationTuple, value: Value) -> Iterator[str]:
    if value != moment.expected[item]:
        yield f"`{item}` is {_shown(value)}, expected {_shown(moment.expected[item])}"


def _not_the_list(what: str, found: list[str], expected: list[str]) -> Iterator[str]:
    if sorted(found) != sorted(expected):
        yield f"`{what}` gives {sorted(found)}, expected {sorted(expected)}"


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "allowed" if value else "denied"
    return f"conditional on {', '.join(sorted(value))}"


def _item(name: str, value: Value) -> str:
    return name if value is True else f"{name} if {', '.join(sorted(cast(frozenset[str], value)))}"


class AsyncFace:
    """`AsyncAuthz` with the methods of `Authz`: each call runs to its end on one event loop."""

    def __init__(self, authz: Authz, loop: asyncio.AbstractEventLoop) -> None:
        self._authz = AsyncAuthz(authz)
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._authz, name)
        return lambda *arguments, **options: self._loop.run_until_complete(method(*arguments, **options))
