import pytest

from tests.browser import found_browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    return found_browser(tmp_path_factory.mktemp("browser"))
