"""Formulas are evaluated when what they read changed, and only then."""

from __future__ import annotations

from drover.client.world import Stack
from drover.server.snapshot.sheet import Look, Objects, Sheet


class Counted:
    """A formula that shows a thing with the name that another fact gives, and counts how often it is asked."""

    def __init__(self) -> None:
        self.evaluated: list[int] = []

    def __call__(self, look: Look, number: int) -> Objects:
        self.evaluated.append(number)
        name = look.fact("name", look.fact("thing", number))
        members = ",".join(sorted(look.group("members", number).values()))
        return (Stack(uuid=str(number), name=f"{name}:{members}"),)


def sheet() -> tuple[Sheet, Counted]:
    formula = Counted()
    made = Sheet({"thing": formula})
    for number in (1, 2):
        made.put("name", number, f"n{number}")
        made.put("thing", number, number)
    made.evaluate()
    formula.evaluated.clear()
    return made, formula


def names(made: Sheet) -> dict[tuple[str, int], list[str | None]]:
    return {cell: [each.name for each in objects] for cell, objects in made.evaluate().items()}


def test_only_what_read_a_changed_fact_is_evaluated() -> None:
    made, formula = sheet()
    made.put("name", 1, "other")
    assert names(made) == {("thing", 1): ["other:"]}
    assert formula.evaluated == [1]


def test_a_fact_that_stays_the_same_changes_nothing() -> None:
    made, formula = sheet()
    made.put("name", 1, "n1")
    made.put("nobody-reads-it", 1, "x")
    assert not made.stale
    assert made.evaluate() == {}
    assert formula.evaluated == []


def test_a_formula_follows_what_it_reads_now_and_no_longer_what_it_read() -> None:
    made, formula = sheet()
    made.put("thing", 1, 2)
    made.evaluate()
    formula.evaluated.clear()
    made.put("name", 1, "nobody looks any more")
    assert made.evaluate() == {}
    made.put("name", 2, "both look")
    assert set(made.evaluate()) == {("thing", 1), ("thing", 2)}


def test_what_was_looked_for_in_vain_is_noticed_when_it_comes() -> None:
    made, _ = sheet()
    made.put("thing", 1, 7)
    assert names(made) == {("thing", 1): ["None:"]}
    made.put("name", 7, "late")
    assert names(made) == {("thing", 1): ["late:"]}


def test_groups_are_read_as_a_whole() -> None:
    made, _ = sheet()
    made.put_member("members", 1, 10, "a")
    made.put_member("members", 1, 11, "b")
    assert names(made) == {("thing", 1): ["n1:a,b"]}
    made.put_member("members", 1, 10, None)
    made.put_member("members", 1, 99, None)
    assert names(made) == {("thing", 1): ["n1:b"]}


def test_what_is_gone_has_no_objects_and_reads_nothing() -> None:
    made, _ = sheet()
    made.put("thing", 1, None)
    assert made.evaluate() == {("thing", 1): ()}
    made.put("name", 1, "unread")
    assert made.evaluate() == {}


def test_evaluation_can_be_done_in_parts() -> None:
    made, formula = sheet()
    for number in (1, 2):
        made.put("name", number, "other")
    assert set(made.evaluate(1)) == {("thing", 1)}
    assert set(made.evaluate(1)) == {("thing", 2)}
    assert made.evaluate() == {}
    assert formula.evaluated == [1, 2]
