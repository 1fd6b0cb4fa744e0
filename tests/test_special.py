"""scipy's functions without their package: what others see of it is the whole of it, whenever they look."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import special as whole

from canary_judge.special import special

OTHERS = {
    "from scipy.special import logsumexp": "logsumexp",
    "import scipy.special; scipy.special.logsumexp": "an attribute",
    "from scipy import special; special.softmax": "scipy's own import",
    "from scipy.special import *; lambertw": "a star",
    "import scipy.stats; scipy.stats.norm.ppf(0.9)": "another package of scipy",
    "import scipy.special as s; assert 'lambertw' in s.__all__": "its names",
}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_it_is_scipy_s():
    for name in ("ndtr", "ndtri", "betainc", "betaincinv", "stdtr", "stdtrit", "nctdtr", "owens_t", "log_expit"):
        assert getattr(special, name) is getattr(whole, name)
    assert special.ndtri(np.array([0.5])).tolist() == [0.0]


@pytest.mark.parametrize("code", OTHERS, ids=OTHERS.values())
@pytest.mark.parametrize("first", [True, False])
def test_others_find_the_whole_package(code, first):
    ours = "from canary_judge.special import special; assert special.ndtr(0.0) == 0.5"
    done = run(f"{ours}\n{code}" if first else f"{code}\n{ours}")
    assert done.returncode == 0, done.stderr


def test_nothing_else_is_loaded_until_somebody_asks():
    code = (
        "import sys\nfrom canary_judge.special import special\nassert 'numpy.ma' not in sys.modules\n"
        "import scipy.special\nassert 'scipy.special._orthogonal' not in sys.modules\n"
        "scipy.special.logsumexp\nassert 'scipy.special._orthogonal' in sys.modules\n"
        "assert type(scipy.special) is type(sys)\n"
        "try: scipy.special.nonsense\nexcept AttributeError as error: print(error)"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "module 'scipy.special' has no attribute 'nonsense'"


def test_threads_that_ask_at_once_all_find_it():
    code = (
        "import threading\nimport canary_judge.special\nimport scipy.special\nfound = []\n"
        "def ask(): found.append(scipy.special.logsumexp([0.0, 0.0]))\n"
        "threads = [threading.Thread(target=ask) for _ in range(16)]\n"
        "[one.start() for one in threads]; [one.join() for one in threads]\nassert len(found) == 16"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_a_package_that_cannot_be_executed_says_so_each_time():
    code = (
        "import sys, canary_judge.special, scipy.special\nsys.modules['scipy.special._basic'] = None\n"
        "for _ in range(2):\n"
        "    try: scipy.special.logsumexp\n"
        "    except ImportError as error: print('told')\n"
        "del sys.modules['scipy.special._basic']\nprint(scipy.special.logsumexp([0.0]))"
    )
    assert run(code).stdout.split() == ["told", "told", "0.0"]
