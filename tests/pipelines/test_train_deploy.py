"""The files of `pipelines/deploy`: well formed, and what they tell the trainer."""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
import yaml

from pipelines import train

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "pipelines" / "deploy"
JOBSET = yaml.safe_load((DEPLOY / "jobset.yaml").read_text())
TFJOB = yaml.safe_load((DEPLOY / "tfjob.yaml").read_text())
SLURM = DEPLOY / "slurm.sh"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()

(REPLICATED,) = JOBSET["spec"]["replicatedJobs"]
JOB = REPLICATED["template"]["spec"]
WORKER = TFJOB["spec"]["tfReplicaSpecs"]["Worker"]
PODS = {"jobset": JOB["template"], "tfjob": WORKER["template"]}
RESUME = 75  # EX_TEMPFAIL
LIMIT_S = 60


def container(name):
    (only,) = PODS[name]["spec"]["containers"]
    return only


def write_tool(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path):
    """A folder whose `python` tells what it is asked in place of training."""
    folder = tmp_path / "tools"
    folder.mkdir()
    told = 'printf "%s\\n" "$TF_CONFIG" "$*" > "$TOLD/${RANK:-0}.txt"'
    slow = 'trap "exit $CODE" TERM; echo ready; while :; do sleep 0.05; done'
    end = f'if [ -n "${{SLOW:-}}" ]; then {slow}; fi; exit "${{CODE:-0}}"'
    write_tool(folder, "python", f"{told}\n{end}")
    return folder


def environment(tools, **more):
    path = f"{tools}:{os.environ['PATH']}"
    return {"PATH": path, "TOLD": str(tools), "TF_CONFIG": "", **more}


def told(tools, rank=0):
    """TF_CONFIG, and what was typed."""
    config, typed = (tools / f"{rank}.txt").read_text().splitlines()
    return json.loads(config) if config else None, typed.split()


def run(command, env, code=0):
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == code, done.stderr
    return done


def ended_by_sigterm(command, env):
    """The exit code of a command that is terminated as soon as a worker runs."""
    # A shell slower than its worker finds out what must not come after the start of it.
    slowly = pathlib.Path(env["TOLD"]) / "slowly.sh"
    slowly.write_text("unset BASH_ENV; trap 'sleep 0.2' DEBUG\n")
    env = env | {"BASH_ENV": str(slowly)}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    return process.returncode


def command_of(name):
    return [*container(name)["command"], *container(name)["args"]]


def test_the_objects_are_of_the_kinds_that_the_controllers_know():
    assert (JOBSET["apiVersion"], JOBSET["kind"]) == (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
    )
    assert (TFJOB["apiVersion"], TFJOB["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert set(JOBSET["spec"]) == {"network", "failurePolicy", "replicatedJobs"}
    assert set(TFJOB["spec"]) == {"runPolicy", "tfReplicaSpecs"}
    # Jobs with a policy for failed pods take no other.
    assert PODS["jobset"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", PODS)
def test_pods_have_a_gpu_the_volume_and_time_for_a_checkpoint(name):
    pod, only = PODS[name]["spec"], container(name)
    assert only["resources"]["limits"]["nvidia.com/gpu"] >= 1
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in only["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert volumes["training"]["persistentVolumeClaim"]["claimName"] == "training"
    typed = train.make_parser(train.__doc__).parse_args(only["args"])
    for folder in (typed.store, typed.runs, typed.datasets, typed.examples):
        assert folder.startswith(f"{mounts['training']}/")
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert only["image"] == "maaskit-train"
    assert f"\nUSER {pod['securityContext']['runAsUser']}\n" in DOCKERFILE


@pytest.mark.parametrize("index", [0, 1])
def test_a_pod_of_the_jobset_finds_all_workers_by_their_names(tools, index):
    given = {e["name"]: e.get("value") for e in container("jobset")["env"]}
    assert set(given) == {"WORKERS", "JOBSET"}
    assert int(given["WORKERS"]) == JOB["parallelism"] == JOB["completions"]
    assert JOB["completionMode"] == "Indexed"  # which sets JOB_COMPLETION_INDEX
    name, (port,) = JOBSET["metadata"]["name"], container("jobset")["ports"]
    more = {"JOBSET": name, "WORKERS": "2", "JOB_COMPLETION_INDEX": str(index)}
    run(command_of("jobset"), environment(tools, **more))
    config, typed = told(tools)
    # <jobset>-<replicated job>-<job's index>-<pod's index>.<subdomain>
    hosts = [f"{name}-{REPLICATED['name']}-0-{pod}.{name}" for pod in range(2)]
    assert JOBSET["spec"]["network"] == {"enableDNSHostnames": True}
    workers = [f"{host}:{port['containerPort']}" for host in hosts]
    assert config == {
        "cluster": {"worker": workers},
        "task": {"type": "worker", "index": index},
    }
    assert typed == ["-m", "pipelines.train", *container("jobset")["args"]]


def test_the_jobset_begins_anew_when_a_pod_asks_to_be_resumed_or_is_moved():
    on_code, on_condition = {}, {}
    for rule in JOB["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule:
            wanted = rule["onExitCodes"]
            assert wanted["containerName"] == container("jobset")["name"]
            assert wanted["operator"] == "In"
            on_code |= dict.fromkeys(wanted["values"], rule["action"])
        for condition in rule.get("onPodConditions", []):
            on_condition[condition["type"]] = rule["action"]
    assert on_code == {RESUME: "FailJob"}
    assert on_condition == {"DisruptionTarget": "FailJob"}
    # The job fails at once, for that reason, and all pods are made anew uncounted.
    assert JOB["backoffLimit"] == 0
    (rule,) = JOBSET["spec"]["failurePolicy"]["rules"]
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert JOBSET["spec"]["failurePolicy"]["maxRestarts"] >= 1


def test_a_signal_reaches_the_trainer_in_a_pod_of_the_jobset(tools):
    more = {"JOBSET": "a", "WORKERS": "1", "JOB_COMPLETION_INDEX": "0"}
    env = environment(tools, SLOW="1", CODE=str(RESUME), **more)
    assert ended_by_sigterm(command_of("jobset"), env) == RESUME


def test_the_operator_hears_of_a_training_to_resume_in_its_own_words(tools):
    assert container("tfjob")["name"] == "tensorflow"
    assert container("tfjob")["ports"][0]["name"] == "tfjob-port"
    assert WORKER["restartPolicy"] == "ExitCode"
    env = environment(tools, SLOW="1", CODE=str(RESUME))
    assert ended_by_sigterm(command_of("tfjob"), env) == 138


@pytest.mark.parametrize("code", [0, 1, 2])
def test_other_codes_reach_the_operator_as_they_are(tools, code):
    run(command_of("tfjob"), environment(tools, CODE=str(code)), code)
    assert told(tools)[1] == ["-m", "pipelines.train", *container("tfjob")["args"]]


@pytest.fixture
def slurm(tools):
    """The environment of a job of 2 nodes and 4 tasks, with Slurm's commands."""
    write_tool(
        tools,
        "scontrol",
        'echo "$*" >> "$TOLD/scontrol.txt"\n'
        'case "$1" in\n'
        '  show) if [ "$2" = hostnames ]; then printf "gpu7\\ngpu8\\n";\n'
        '        else echo "JobId=$3 JobState=$STATE Reason=None"; fi ;;\n'
        "esac",
    )
    # As srun does: passes signals on, ends with the highest code.
    write_tool(
        tools,
        "srun",
        'while [[ "$1" == -* ]]; do echo "$1" >> "$TOLD/srun.txt"; shift; done\n'
        "for ((task = 0; task < SLURM_NTASKS; task++)); do\n"
        '  RANK=$task SLURM_PROCID=$task "$@" & tasks+=($!)\n'
        "done\n"
        "trap 'kill -TERM \"${tasks[@]}\"' TERM\n"
        "highest=0\n"
        'for task in "${tasks[@]}"; do\n'
        '  while kill -0 "$task" 2>/dev/null; do wait "$task"; done\n'
        '  wait "$task"; code=$?; ((code > highest)) && highest=$code\n'
        "done\n"
        'exit "$highest"',
    )
    return environment(
        tools,
        PYTHON="python",
        STATE="RUNNING",
        SLURM_JOB_ID="40017",
        SLURM_JOB_NODELIST="gpu[7-8]",
        SLURM_NTASKS="4",
        SLURM_NTASKS_PER_NODE="2",
    )


COMMAND = ["bash", str(SLURM), "mnist_classifier", "--set", "epochs=30"]


def requeued(tools):
    return "requeue 40017" in (tools / "scontrol.txt").read_text().splitlines()


def test_the_slurm_script_is_well_formed():
    run(["bash", "-n", str(SLURM)], dict(os.environ))
    text = SLURM.read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert int(options["nodes"]) >= 2
    assert int(options["gpus-per-task"]) >= 1
    assert "requeue" in options
    assert options["open-mode"] == "append"  # what was said before a requeue stays
    shell, signal_name, seconds = re.split(r"[:@]", options["signal"])
    assert (shell, signal_name) == ("B", "TERM")
    # Long enough for the other tasks to end after the first.
    (wait_s,) = re.findall(r"--wait=(\d+)", text)
    assert int(wait_s) < int(seconds)
    # sbatch reads options up to the first command.
    assert text.rindex("#SBATCH") < text.index("set -u")


def test_every_task_of_a_slurm_job_knows_all_workers_and_its_own_place(tools, slurm):
    run(COMMAND, slurm)
    port = 12000 + 40017 % 20000
    hosts = ["gpu7", "gpu7", "gpu8", "gpu8"]
    workers = [f"{host}:{port + place % 2}" for place, host in enumerate(hosts)]
    for rank in range(4):
        config, typed = told(tools, rank)
        assert config == {
            "cluster": {"worker": workers},
            "task": {"type": "worker", "index": rank},
        }
        assert typed == ["-m", "pipelines.train", *COMMAND[2:]]
    assert "--distribution=block" in (tools / "srun.txt").read_text().splitlines()
    assert not requeued(tools)


def test_a_slurm_job_that_is_asked_to_end_is_queued_again(tools, slurm):
    env = slurm | {"SLOW": "1", "CODE": str(RESUME), "SLURM_NTASKS": "1"}
    assert ended_by_sigterm(COMMAND, env) == RESUME
    assert requeued(tools)


@pytest.mark.parametrize(
    ("state", "code"), [("COMPLETING", RESUME), ("RUNNING", 1), ("RUNNING", 137)]
)
def test_a_slurm_job_that_was_cancelled_or_failed_is_not(tools, slurm, state, code):
    run(COMMAND, slurm | {"STATE": state, "CODE": str(code)}, code)
    assert not requeued(tools)


def test_the_image_copies_what_is_there():
    copied = re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists()
    for package in ("savedmodels", "serving", "trainers", "pipelines"):
        assert f"COPY {package} {package}\n" in DOCKERFILE
