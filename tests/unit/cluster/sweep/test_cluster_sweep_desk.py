"""The desk between trials and workers: who gets what, and what becomes of work that nobody finishes."""

import asyncio

import pytest

from kinoray.cluster.sweep import desk as desk_module
from kinoray.cluster.sweep.desk import Desk, Ended, Failed, Job, Report
from kinoray.sweep.trials import Trial

REPORT = Report(epoch=0, value=0.5, checkpoint="here", train_seconds=1.0)
LAST = Report(epoch=1, value=0.6, checkpoint="there", train_seconds=1.0, is_last=True)


def job(number):
    return Job(Trial(number, {}, 0, f"trial-{number}"), folder="", resume_from=None, keep_all=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(desk_module, "WAIT_SECONDS", 0.05)


def test_a_job_goes_to_a_slot_and_its_reports_come_back():
    async def story():
        desk = Desk()
        assert await desk.next_job(0) is None
        ticket = await desk.submit(job(7))
        taken = await desk.next_job(0)
        assert (taken.trial.number, taken.ticket) == (7, ticket)
        assert await desk.answer(ticket) is None
        await desk.tell(0, ticket, REPORT)
        assert await desk.answer(ticket) == REPORT
        assert await desk.decision(ticket) is None
        await desk.decide(ticket, "go")
        assert await desk.decision(ticket) == "go"
        await desk.tell(0, ticket, LAST)
        assert await desk.answer(ticket) == LAST
        assert await desk.next_job(0) is None

    asyncio.run(story())


def test_a_stopped_job_is_told_to_stop_whenever_it_asks():
    async def story():
        desk = Desk()
        running, waiting = await desk.submit(job(0)), await desk.submit(job(1))
        await desk.next_job(0)
        await desk.decide(running, "stop")
        assert await desk.decision(running) == "stop"
        await desk.tell(0, running, Ended())  # nobody listens any more
        await desk.decide(waiting, "stop")
        assert await desk.next_job(0) is None  # never begun

    asyncio.run(story())


def test_a_slot_that_comes_back_in_the_middle_of_a_job_has_lost_it():
    async def story():
        desk = Desk()
        ticket = await desk.submit(job(0))
        await desk.next_job(0)
        assert await desk.next_job(0) is None
        assert await desk.answer(ticket) == Failed("a worker died", again=True)
        again = await desk.submit(job(0))
        assert (await desk.next_job(1)).ticket == again != ticket

    asyncio.run(story())


def test_a_job_does_not_go_to_workers_that_have_died_since_they_asked():
    async def story():
        desk = Desk()
        dead = asyncio.create_task(desk.next_job(0))
        await asyncio.sleep(0)
        alive = asyncio.create_task(desk.next_job(0))
        await asyncio.sleep(0)
        ticket = await desk.submit(job(0))
        assert await dead is None
        assert (await alive).ticket == ticket
        assert await desk.answer(ticket) is None  # not: a worker died

    asyncio.run(story())


def test_a_failure_that_was_told_is_not_told_again():
    async def story():
        desk = Desk()
        ticket = await desk.submit(job(0))
        await desk.next_job(0)
        await desk.tell(0, ticket, Failed("no memory", again=True))
        await desk.tell(0, ticket, Failed("another worker of the group", again=True))
        await desk.next_job(0)
        assert await desk.answer(ticket) == Failed("no memory", again=True)

    asyncio.run(story())


def test_closing_sends_workers_home_and_ends_waiting():
    async def story():
        desk = Desk()
        ticket = await desk.submit(job(0))
        await desk.next_job(0)
        idle = [asyncio.create_task(desk.next_job(slot)) for slot in (1, 2)]
        await asyncio.sleep(0)
        await desk.close("no workers")
        assert await asyncio.gather(*idle) == ["closed", "closed"]
        assert await desk.decision(ticket) == "stop"
        with pytest.raises(RuntimeError, match="no workers"):
            await desk.answer(ticket)
        await desk.close()
        with pytest.raises(RuntimeError, match="no workers"):
            await desk.answer(ticket)

    asyncio.run(story())
