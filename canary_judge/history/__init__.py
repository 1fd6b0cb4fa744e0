"""Past canaries: an archive of them, and what judges would have said of them."""

from canary_judge.history.archiving import of_log, record
from canary_judge.history.backtesting import Backtest, backtest
from canary_judge.history.calibrating import calibrate
from canary_judge.history.calibration import Calibration, Finds
from canary_judge.history.canary import Label, PastCanary, Span
from canary_judge.history.injecting import FAULTS, Fault
from canary_judge.history.judges import KayentaJudge, Limit, LimitRule, OurJudge, PastJudge
from canary_judge.history.replaying import replay
from canary_judge.history.store import History

__all__ = [
    "FAULTS",
    "Backtest",
    "Calibration",
    "Fault",
    "Finds",
    "History",
    "KayentaJudge",
    "Label",
    "Limit",
    "LimitRule",
    "OurJudge",
    "PastCanary",
    "PastJudge",
    "Span",
    "backtest",
    "calibrate",
    "of_log",
    "record",
    "replay",
]
