"""Open MPI's limits over TCP: raised where nobody has chosen otherwise."""

import pytest

from distgrad.comm import tcp
from distgrad.comm.group import CHUNK

LIMITS = [
    "OMPI_MCA_btl_tcp_eager_limit",
    "OMPI_MCA_btl_tcp_rndv_eager_limit",
    "OMPI_MCA_btl_tcp_max_send_size",
]


def test_all_three_limits_are_raised_together():
    environ: dict[str, str] = {}
    tcp.set_limits(environ)
    assert environ == dict.fromkeys(LIMITS, str(tcp.LIMIT))


def test_a_message_with_its_header_stays_below_the_limit():
    assert CHUNK + 4096 <= tcp.LIMIT


@pytest.mark.parametrize("name", LIMITS)
def test_nothing_is_changed_where_the_user_has_set_one(name):
    environ = {name: "65536"}
    tcp.set_limits(environ)
    assert environ == {name: "65536"}


@pytest.mark.parametrize(
    "chosen",
    [
        {"OMPI_MCA_pml": "ucx"},
        {"OMPI_MCA_pml": "cm", "OMPI_MCA_mtl": "ofi"},
        {"OMPI_MCA_btl": "self,sm"},
        {"OMPI_MCA_btl": "^tcp"},
    ],
)
def test_nothing_is_changed_where_tcp_carries_no_messages(chosen):
    environ = dict(chosen)
    tcp.set_limits(environ)
    assert environ == chosen


@pytest.mark.parametrize(
    "chosen",
    [{"OMPI_MCA_pml": "ob1"}, {"OMPI_MCA_btl": "self,sm,tcp"}, {"OMPI_MCA_btl": "^openib"}],
)
def test_they_are_raised_where_tcp_was_chosen(chosen):
    environ = dict(chosen)
    tcp.set_limits(environ)
    assert environ == chosen | dict.fromkeys(LIMITS, str(tcp.LIMIT))


@pytest.mark.parametrize("where", ["home", "prefix", "named"])
def test_nothing_is_changed_where_a_file_of_parameters_has_one(tmp_path, where):
    file = {
        "home": tmp_path / ".openmpi" / "mca-params.conf",
        "prefix": tmp_path / "etc" / "openmpi-mca-params.conf",
        "named": tmp_path / "my.conf",
    }[where]
    file.parent.mkdir(exist_ok=True)
    environ = {
        "home": {"HOME": str(tmp_path)},
        "prefix": {"OPAL_PREFIX": str(tmp_path)},
        "named": {"OMPI_MCA_mca_base_param_files": str(file)},
    }[where]
    file.write_text("# btl_tcp_eager_limit = 1\n")
    plain = dict(environ)
    tcp.set_limits(plain)
    assert plain == environ | dict.fromkeys(LIMITS, str(tcp.LIMIT))
    file.write_text("pml = ob1\n btl_tcp_eager_limit = 65536\n")
    given = dict(environ)
    tcp.set_limits(given)
    assert given == environ
