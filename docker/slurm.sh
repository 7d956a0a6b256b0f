#!/usr/bin/env bash
#SBATCH --job-name=capfilt
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# A Ray over all nodes of the job, and capfilt on it:   sbatch docker/slurm.sh manifests/laion.yaml
# Two minutes before the time is over capfilt is told to stop, and the job queues up again: it goes on where it was.
# The output and the installation must lie on storage that all nodes see.
set -euo pipefail
manifest=${1:?name a manifest}
port=${RAY_PORT:-6379}

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | cut -d ' ' -f 1)
# only who knows the token may join; it is made anew for every job
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN NO_ALBUMENTATIONS_UPDATE=1
export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}"

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --node-ip-address="$address" --port="$port" --include-dashboard=false --block &
sleep 15
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" --overlap \
        ray start --address="$address:$port" --block &
fi

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap capfilt run "$manifest" --address "$address:$port" &
run=$!
stopped=""
trap 'stopped=yes; kill -TERM "$run"' TERM
code=0
wait "$run" || code=$?
if [ -n "$stopped" ]; then
    wait "$run" || code=$? # the first wait was ended by the signal, not by capfilt
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
