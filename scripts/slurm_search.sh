#!/bin/bash
#SBATCH --job-name=optsearch
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --output=optsearch-%j.out
#
# A search on the nodes of one job; the first of them draws and writes, all of them train. A job that ran out of time is
# submitted again as it was and goes on; it loses what was being trained.
#
#     sbatch scripts/slurm_search.sh configs/quickstart.yaml --set evaluator.workers=32 --set evaluator.lookahead=32
#
# Needs Ray 2.49 or newer, optsearch installed in an environment that all nodes share (activate it before `sbatch`), and
# a database on a file system that the first node can lock: a local path that you copy back, or PostgreSQL.

set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: sbatch slurm_search.sh CONFIG [options of optsearch run]" >&2
    exit 2
fi

read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 10000))  # jobs that share a node must not share a port

# All who have the token can use the cluster; Ray makes nothing of an old one.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300  # seconds for all nodes to start
# Ray lets everybody write where its files lie: on each node they get a folder that nobody else can enter.
export RAY_TMPDIR=/tmp/optsearch-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
apart='mkdir -m 700 "$RAY_TMPDIR" && trap "rm -rf \"$RAY_TMPDIR\"" EXIT && "$@"'

# Word by word: options of srun, the folder, options of symmetric-run, of `ray start`, and after -- the command for the
# first node.
exec srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" bash -c "$apart" apart \
    ray symmetric-run --address="$head:$port" --min-nodes="$SLURM_JOB_NUM_NODES" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --disable-usage-stats \
    -- optsearch run "$@" --set "evaluator.address=$head:$port"
