import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def no_figure_stays():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")
