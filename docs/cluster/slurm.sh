#!/usr/bin/env bash
# A Ray cluster inside one Slurm allocation, and one training run on it. From the root of a checkout on a file system that
# all nodes share, after `make setup`:
#   sbatch docs/cluster/slurm.sh configs/slowfast/slowfast_r50_32x2x1_100e_ucf101_rgb.yaml --site configs/sites/gpu_cluster.yaml
# Arguments go to jobs/train.py; options given to sbatch win over those below. The cluster ends with the job.
#SBATCH --job-name=kinoray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=kinoray-%j.log
set -euo pipefail

cd "${KINORAY_ROOT:-$SLURM_SUBMIT_DIR}"
# First in PATH, since the PATH of `ray start` decides what `python3` is on every node.
export PATH="$PWD/.venv/bin:$PATH"
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun no longer takes it over from sbatch by itself
export RAY_USAGE_STATS_ENABLED=0

# Nodes may be shared with other users: a token that lives as long as the job, and ports and a folder of the job's own.
# srun hands the environment on to every node.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_AUTH_TOKEN
port=$((20000 + 2 * (SLURM_JOB_ID % 5000)))
temp_dir="/tmp/ray-$SLURM_JOB_ID"
start=(ray start --block --temp-dir="$temp_dir" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head="${nodes[0]}" # the node that this script runs on
head_ip="$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')"
# Where `ray.init()` and the jobs find the cluster.
export RAY_ADDRESS="$head_ip:$port"

# Ends this job's own steps only: `ray stop` would end every Ray process that the user has on a shared node.
steps=()
finish() {
  kill "${steps[@]}" 2>/dev/null || true
  wait || true
  srun --overlap --ntasks-per-node=1 rm -rf "$temp_dir" || true
}
trap finish EXIT

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
  "${start[@]}" --head --node-ip-address="$head_ip" --port="$port" --dashboard-port="$((port + 1))" &
steps+=($!)
if ((${#nodes[@]} > 1)); then
  num_workers=$((${#nodes[@]} - 1))
  # They wait for the head's port first: `ray start` itself gives up after a while.
  srun --overlap --nodes="$num_workers" --ntasks="$num_workers" --exclude="$head" \
    bash -c 'until true 2>/dev/null >"/dev/tcp/${RAY_ADDRESS/://}"; do sleep 2; done; exec "$@"' _ \
    "${start[@]}" --address="$RAY_ADDRESS" &
  steps+=($!)
fi

# All nodes, or a reason why not: a run that starts with fewer would wait for its missing workers without a word.
python - "${#nodes[@]}" <<'PYTHON'
import os
import socket
import sys
import time

import ray

host, port = os.environ["RAY_ADDRESS"].rsplit(":", 1)
expected = int(sys.argv[1])
deadline = time.monotonic() + 300
while socket.socket().connect_ex((host, int(port))):
    if time.monotonic() > deadline:
        sys.exit("slurm.sh: the head did not start within 300 s; its messages are above")
    time.sleep(2)
ray.init(logging_level="warning")
while (alive := sum(node["Alive"] for node in ray.nodes())) < expected:
    if time.monotonic() > deadline:
        sys.exit(f"slurm.sh: {alive} of {expected} nodes joined within 300 s; the messages of the others are above")
    time.sleep(2)
PYTHON

python jobs/train.py "$@"
