"""Authorization in one process, each library as its documentation advises; the same data and questions."""

from __future__ import annotations

import json
import sqlite3
import warnings
from pathlib import Path
from typing import NamedTuple, Protocol

import casbin
import cedarpy

from weft.authz import Authz

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import oso


class Access(NamedTuple):
    """Documents and who may view them, by name or as members of groups; users are in groups directly."""

    viewers: list[tuple[str, str]]
    """Document, user."""
    group_viewers: list[tuple[str, str]]
    """Document, group."""
    members: list[tuple[str, str]]
    """Group, user."""


class Peer(Protocol):
    def allowed(self, document: str, user: str) -> bool:
        """Whether the user may view the document."""


class Weft:
    """On LMDB, in a folder."""

    def __init__(self, access: Access, folder: Path) -> None:
        self._authz = Authz.open(folder)
        self._authz.write_schema(
            "definition user {}\n"
            "definition group { relation member: user }\n"
            "definition doc { relation viewer: user | group#member  permission view = viewer }\n"
        )
        self._authz.import_tuples(
            [
                *(f"doc:{document}#viewer@user:{user}" for document, user in access.viewers),
                *(f"doc:{document}#viewer@group:{group}#member" for document, group in access.group_viewers),
                *(f"group:{group}#member@user:{user}" for group, user in access.members),
            ]
        )

    def allowed(self, document: str, user: str) -> bool:
        return self._authz.check(f"doc:{document}", "view", f"user:{user}").allowed


class Casbin:
    """RBAC with users in groups, from a policy file."""

    _MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.obj == p.obj && r.act == p.act && g(r.sub, p.sub)
"""

    def __init__(self, access: Access, folder: Path, *, fast: bool) -> None:
        """`fast` looks only at the policies of the question's document, by the enforcer made for that."""
        model, policy = folder / "model.conf", folder / "policy.csv"
        model.write_text(self._MODEL)
        policies = [f"p, {who}, {document}, view" for document, who in access.viewers + access.group_viewers]
        policies += [f"g, {user}, {group}" for group, user in access.members]
        policy.write_text("\n".join(policies) + "\n")
        if fast:
            self._enforcer = casbin.FastEnforcer(str(model), str(policy), cache_key_order=[1])
        else:
            self._enforcer = casbin.Enforcer(str(model), str(policy))

    def allowed(self, document: str, user: str) -> bool:
        return bool(self._enforcer.enforce(user, document, "view"))


class Cedar:
    """One policy; documents carry their viewers, users have their groups as parents; all parsed once."""

    _POLICY = 'permit(principal, action == Action::"view", resource) when { principal in resource.viewers };'

    def __init__(self, access: Access) -> None:
        viewers: dict[str, list[dict[str, object]]] = {}
        for kind, pairs in (("User", access.viewers), ("Group", access.group_viewers)):
            for document, who in pairs:
                viewers.setdefault(document, []).append({"__entity": {"type": kind, "id": who}})
        parents: dict[str, list[dict[str, str]]] = {user: [] for _, user in access.viewers}
        for group, user in access.members:
            parents.setdefault(user, []).append({"type": "Group", "id": group})
        entities: list[dict[str, object]] = [
            {"uid": {"type": "Doc", "id": document}, "attrs": {"viewers": who}, "parents": []}
            for document, who in viewers.items()
        ]
        entities += [
            {"uid": {"type": "User", "id": user}, "attrs": {}, "parents": groups}
            for user, groups in parents.items()
        ]
        groups = {group for group, _ in access.members} | {group for _, group in access.group_viewers}
        entities += [{"uid": {"type": "Group", "id": group}, "attrs": {}, "parents": []} for group in groups]
        self._policies = cedarpy.PolicySet.from_str(self._POLICY)
        self._entities = cedarpy.Entities.from_json_str(json.dumps(entities))

    def allowed(self, document: str, user: str) -> bool:
        request = {
            "principal": {"type": "User", "id": user},
            "action": {"type": "Action", "id": "view"},
            "resource": {"type": "Doc", "id": document},
            "context": {},
        }
        return cedarpy.is_authorized(request, self._policies, self._entities).allowed


class _OsoUser:
    def __init__(self, groups: set[str]) -> None:
        self.groups = groups
        self.name = ""


class _OsoDocument:
    def __init__(self) -> None:
        self.users: set[str] = set()
        self.groups: set[str] = set()


class Oso:
    """Two rules in Polar over the application's own objects."""

    _RULES = """
allow(user: User, "view", document: Document) if user.name in document.users;
allow(user: User, "view", document: Document) if group in user.groups and group in document.groups;
"""

    def __init__(self, access: Access) -> None:
        self._users: dict[str, _OsoUser] = {}
        self._documents: dict[str, _OsoDocument] = {}
        for document, user in access.viewers:
            self._document(document).users.add(user)
        for document, group in access.group_viewers:
            self._document(document).groups.add(group)
        for group, user in access.members:
            self._user(user).groups.add(group)
        self._oso = oso.Oso()
        self._oso.register_class(_OsoUser, name="User")
        self._oso.register_class(_OsoDocument, name="Document")
        self._oso.load_str(self._RULES)

    def _user(self, name: str) -> _OsoUser:
        user = self._users.setdefault(name, _OsoUser(set()))
        user.name = name
        return user

    def _document(self, name: str) -> _OsoDocument:
        return self._documents.setdefault(name, _OsoDocument())

    def allowed(self, document: str, user: str) -> bool:
        return bool(self._oso.is_allowed(self._user(user), "view", self._document(document)))


class Sqlite:
    """Three clustered tables in memory and one statement, which the module keeps prepared."""

    _QUESTION = """
select exists (select 1 from viewer where document = ?1 and user = ?2)
    or exists (select 1 from group_viewer g join member m on m.grp = g.grp
               where g.document = ?1 and m.user = ?2)
"""

    def __init__(self, access: Access) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.executescript(
            "create table viewer (document, user, primary key (document, user)) without rowid;"
            "create table group_viewer (document, grp, primary key (document, grp)) without rowid;"
            "create table member (user, grp, primary key (user, grp)) without rowid;"
        )
        self._database.executemany("insert into viewer values (?, ?)", access.viewers)
        self._database.executemany("insert into group_viewer values (?, ?)", access.group_viewers)
        self._database.executemany("insert into member (grp, user) values (?, ?)", access.members)

    def allowed(self, document: str, user: str) -> bool:
        [found] = self._database.execute(self._QUESTION, (document, user)).fetchone()
        return bool(found)


def open_peers(access: Access, folder: Path) -> dict[str, Peer]:
    """All of them, filled; weft.authz is the first."""
    return {
        "weft.authz": Weft(access, folder / "weft"),
        "sqlite": Sqlite(access),
        "cedarpy": Cedar(access),
        "oso": Oso(access),
        "pycasbin fast": Casbin(access, folder, fast=True),
        "pycasbin": Casbin(access, folder, fast=False),
    }
