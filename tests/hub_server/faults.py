"""What can be told to go wrong: which requests, how, and how often."""

import re
import threading
from dataclasses import dataclass


@dataclass
class Fault:
    """One thing that goes wrong, for requests whose method and path match.

    Attributes:
        method: "GET", "PUT", …; "*" for any.
        pattern: a regular expression searched in the path (without the query).
        action: "status" answer with `status`; "stall" wait for `released`, then answer as if nothing had been; "cut"
            close the connection after `after_bytes` of the answer's body; "corrupt" flip one byte of the answer's body;
            "lose" do the work, then close without an answer; "drip" send the body a byte at a time; "redirect" answer
            302 to the same path at `host`.
        times: how many requests are hit; None means every one.
    """

    method: str
    pattern: str
    action: str
    times: int | None = 1
    status: int = 500
    code: str = ""
    message: str = "told to fail"
    retry_after_s: int | None = None
    after_bytes: int = 0
    host: str = ""
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        is_left = self.times is None or self.hits < self.times
        return is_left and self.method in ("*", method) and re.search(self.pattern, path) is not None


class Faults:
    """The faults of one server; the first that matches a request is used up by one."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.released = threading.Event()  # lets stalled requests go on; set when the server stops

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.matches(method, path):
                    fault.hits += 1
                    return fault
        return None
