"""Starting and ending, as far as it goes without Ray."""

import os
import signal
from types import SimpleNamespace

import pytest

from kinoray.cluster.serving.run import APPLICATION, _check_unused, _reason, _stop_asked
from kinoray.errors import ResourceError
from kinoray.site import Site


def serving(message: str = "", *, proxies: int = 0):
    deployment = SimpleNamespace(message=message)
    application = SimpleNamespace(deployments={APPLICATION: deployment})
    status = SimpleNamespace(
        applications={APPLICATION: application} if message else {}, proxies={"node": 1} if proxies else {}
    )
    return SimpleNamespace(status=lambda: status)


def test_why_replicas_do_not_start():
    assert _reason(serving("It failed:\n  File x\nkinoray.errors.ConfigError: no such model\n\n")).endswith(
        "no such model"
    )
    assert _reason(serving()) == ""


def test_what_others_serve_is_left_alone():
    _check_unused(serving(), Site())
    with pytest.raises(ResourceError, match=r"runs already on the cluster at 10\.0\.0\.1:6379"):
        _check_unused(serving(proxies=1), Site(address="10.0.0.1:6379"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_ask_to_stop_once(number):
    before = signal.getsignal(number)
    with _stop_asked() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), number)
        assert asked.wait(5)
        assert signal.getsignal(number) is before, "a second one ends at once"
    assert signal.getsignal(number) is before
