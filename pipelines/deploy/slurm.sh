#!/bin/bash
# A model trained on the nodes of a Slurm job, one worker for each task. From the project's
# folder, which all nodes must find under the same path:
#   sbatch pipelines/deploy/slurm.sh mnist_classifier --set epochs=30
# What stands after the script's name is what `python -m pipelines.train` takes. Options of
# sbatch before it win over those here: sbatch --nodes=4 pipelines/deploy/slurm.sh ...
#SBATCH --job-name=maaskit-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@180
set -u
export PYTHON=${PYTHON:-.venv/bin/python}

# In each task: says which workers there are, and which of them this is.
worker() {
  local nodes node place port workers=()
  # Another one for each job: two may meet on a node.
  port=$((12000 + SLURM_JOB_ID % 20000))
  mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  for node in "${nodes[@]}"; do
    for ((place = 0; place < SLURM_NTASKS_PER_NODE; place++)); do
      workers+=("\"$node:$((port + place))\"")
    done
  done
  TF_CONFIG=$(IFS=,; printf \
    '{"cluster": {"worker": [%s]}, "task": {"type": "worker", "index": %d}}' \
    "${workers[*]}" "$SLURM_PROCID")
  export TF_CONFIG
  exec "$PYTHON" -m pipelines.train "$@"
}
export -f worker

# Before the start, which a signal may follow at once.
trap 'kill -TERM $(jobs -p)' TERM
# Tasks that end are followed by the others: those may still be writing the checkpoint.
srun --distribution=block --kill-on-bad-exit=0 --wait=120 \
  bash -c 'worker "$@"' worker "$@" &
step=$!
# A signal ends `wait`, and not the step.
while kill -0 "$step" 2>/dev/null; do wait "$step"; done
wait "$step"
code=$?

# 75 says: resume me. Not where somebody has cancelled the job meanwhile.
if ((code == 75)) && scontrol show job "$SLURM_JOB_ID" | grep -q 'JobState=RUNNING'; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
