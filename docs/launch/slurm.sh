#!/bin/bash
# Run a study on a Slurm cluster: this small job is the driver, which submits the jobs that do the work.
#
#   sbatch slurm.sh study.yaml runs/mine
#
# Or, where login nodes let a process stay (tmux), the last command by itself. Submit it again whenever it has ended
# before its study: it takes over the jobs that still run, and does only what is missing. Change the partition, the time
# limit of a job (minutes) and the number of jobs in flight to what your site allows.
#
#SBATCH --job-name=pliant-driver
#SBATCH --time=2-00:00:00
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=pliant-driver-%j.log

set -euo pipefail
study=${1:?give a study file}
out=${2:?give the folder of its records, on a file system that the nodes share}

# pip install 'pliant[slurm]' into an environment that the nodes share; activate it here:
# source ~/envs/pliant/bin/activate

exec pliant run "$study" --out "$out" --engine slurm --workers 32 --slurm partition=gpu --slurm time=240 --slurm gpus_per_node=1 --slurm mem=64GB
