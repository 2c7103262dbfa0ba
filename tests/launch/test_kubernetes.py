"""The manifests that are written for Kubernetes have the fields of the MPIJob's definition.

What may stand in an MPIJob is what the MPI Operator's API v2beta1 says; the pods in it are compared
with Kubernetes' own schema where the package kubernetes-validate is installed.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys

import pytest
from jobs import ROOT

INTEGER, TEXT, FLAG = (int,), (str,), (bool,)
SCHEDULING = {"minAvailable": INTEGER, "queue": TEXT, "minResources": (dict,)}
SCHEDULING |= {"priorityClass": TEXT, "scheduleTimeoutSeconds": INTEGER}
REPLICA = {"replicas": INTEGER, "restartPolicy": {"Never", "OnFailure"}, "template": (dict,)}
SPEC = {
    "slotsPerWorker": INTEGER,
    "runLauncherAsWorker": FLAG,
    "runPolicy": {
        "cleanPodPolicy": {"None", "Running", "All"},
        "ttlSecondsAfterFinished": INTEGER,
        "activeDeadlineSeconds": INTEGER,
        "backoffLimit": INTEGER,
        "schedulingPolicy": SCHEDULING,
        "suspend": FLAG,
        "managedBy": TEXT,
    },
    "mpiReplicaSpecs": {"Launcher": REPLICA, "Worker": REPLICA},
    "sshAuthMountPath": TEXT,
    "launcherCreationPolicy": {"AtStartup", "WaitForWorkersReady"},
    "mpiImplementation": {"OpenMPI", "Intel", "MPICH"},
}
AWKWARD = [
    "{checkpoint}",
    "8",
    "true",
    "~",
    "- a",
    "a: b",
    "é",
    '"',
    "",
    "1e3",
    "--",
    "-",
    "=",
    "0x1",
]


def read_yaml(text: str) -> list[dict]:
    """Parse with whatever Python has PyYAML: this one, or Debian's (package python3-yaml)."""
    program = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
    for python in (sys.executable, "/usr/bin/python3"):
        done = subprocess.run(
            [python, "-c", program], input=text, capture_output=True, text=True, check=False
        )
        if "No module named 'yaml'" not in done.stderr:
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)
    return pytest.skip("no Python here has PyYAML (Debian's package python3-yaml)")


@functools.cache
def written(*words: str) -> str:
    command = [sys.executable, "-m", "distgrad", "submit", "--scheduler", "k8s", "--dry-run"]
    done = subprocess.run(
        [*command, "--image", "r/d", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


MANIFESTS = {
    "launch": (ROOT / "launch/kubernetes-mpijob.yaml").read_text,
    "plain": lambda: written("-n", "6", "--nodes", "3", "train.py"),
    "full": lambda: written(
        *("-n", "6", "--nodes", "3", "--threads", "2", "--time", "2h", "--memory", "8G"),
        *("--queue", "q", "--fast-network", "--", "train.py", *AWKWARD),
    ),
}


@pytest.fixture(params=MANIFESTS)
def manifest(request):
    return read_yaml(MANIFESTS[request.param]())


def mistakes(value, allowed, path=""):
    """Yield where a value has a field or a content that its definition has not."""
    if isinstance(allowed, dict):
        for key, inner in value.items():
            known = key in allowed
            yield from mistakes(inner, allowed[key], f"{path}.{key}") if known else [path + key]
    elif isinstance(allowed, set):
        if value not in allowed:
            yield f"{path}: {value}"
    elif type(value) not in allowed:
        yield f"{path}: {value!r}"


def test_an_mpijob_has_the_fields_of_its_definition(manifest):
    claim, job = manifest
    assert job["apiVersion"] == "kubeflow.org/v2beta1"
    assert job["kind"] == "MPIJob"
    assert not list(mistakes(job["spec"], SPEC))
    assert claim["kind"] == "PersistentVolumeClaim"


def test_it_starts_as_many_ranks_as_it_has_slots(manifest):
    claim, job = manifest
    launcher, worker = (job["spec"]["mpiReplicaSpecs"][role] for role in ("Launcher", "Worker"))
    command = launcher["template"]["spec"]["containers"][0]["command"]
    ranks = int(command[command.index("-n") + 1])
    assert ranks == worker["replicas"] * job["spec"]["slotsPerWorker"]
    assert "--shards" not in command or ranks <= int(command[command.index("--shards") + 1])
    volumes = worker["template"]["spec"]["volumes"]
    assert claim["metadata"]["name"] == volumes[0]["persistentVolumeClaim"]["claimName"]
    assert launcher["replicas"] == 1


def test_the_programs_words_are_the_containers_words():
    _, job = read_yaml(MANIFESTS["full"]())
    command = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]
    words = command["command"]
    assert words[: words.index("train.py")] == [
        *("/usr/local/bin/distgrad", "run", "--threads", "2"),
        *("--hostfile", "/etc/mpi/hostfile", "-n", "6"),
    ]
    assert words[words.index("train.py") + 1 :] == ["/checkpoints/train", *AWKWARD[1:]]
    assert job["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "q"}
    assert "env" not in command


@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None,
    reason="kubernetes-validate, which has Kubernetes' schema, is not installed",
)
def test_the_pods_are_kubernetes_pods(manifest):
    import kubernetes_validate  # noqa: PLC0415

    claim, job = manifest
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(claim, version, strict=True)
    for name, replica in job["spec"]["mpiReplicaSpecs"].items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name.lower()}}
        pod["spec"] = replica["template"]["spec"] | {"restartPolicy": replica["restartPolicy"]}
        kubernetes_validate.validate(pod, version, strict=True)
