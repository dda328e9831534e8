# An image of hvdtrain: Horovod built against its torch by scripts/install, the demo's text inside, so that the demo needs no network.
#
#   docker build -t hvdtrain .
#   docker run --rm hvdtrain                                          the demo's commands
#   docker run --rm hvdtrain launch -np 2 gpt-shakespeare             trains on two workers
#   docker run --rm -v "$PWD:/work" hvdtrain train my-recipe.yaml     a recipe and a run directory of your own
#   docker run --rm --entrypoint horovodrun hvdtrain -np 2 hvdtrain train gpt-shakespeare
#
# For CUDA, a base with its toolkit and NCCL to build on, a smaller one to run on, and a torch for it:
#
#   docker build -t hvdtrain:cuda \
#     --build-arg BASE=nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04 --build-arg RUNTIME_BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 \
#     --build-arg HVDTRAIN_TORCH_PIP_ARGS="--index-url URL-OF-TORCH'S-CUDA-INDEX" --build-arg HVDTRAIN_WITH_CUDA=1 .
#
# Both bases must have the same Python in the same place, or none: then Debian's or Ubuntu's is installed in both.
ARG BASE=python:3.11-slim-bookworm
ARG RUNTIME_BASE=python:3.11-slim-bookworm

# ---- build: a virtual environment in /opt/hvdtrain --------------------------------------------------------------------
FROM ${BASE} AS build
RUN apt-get update \
    && python=$(command -v python3 > /dev/null || echo python3 python3-venv python3-dev) \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates g++ make cmake libopenmpi-dev openmpi-bin $python \
    && rm -rf /var/lib/apt/lists/*

# After the packages, so that another torch does not fetch them again. The image's torch is the CPU's; where the index serves
# a CUDA build for the same version, HVDTRAIN_TORCH_PIP_ARGS="--index-url ..." names the CPU's index.
ARG HVDTRAIN_TORCH=torch==2.13.0
ARG HVDTRAIN_TORCH_PIP_ARGS=
ARG HVDTRAIN_WITH_MPI=auto
ARG HVDTRAIN_WITH_CUDA=auto
ENV HVDTRAIN_VENV=/opt/hvdtrain PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1

# torch and Horovod depend on these alone: a change of the package does not build them again.
WORKDIR /src
COPY scripts/install scripts/lib.sh scripts/
COPY scripts/horovod scripts/horovod
RUN scripts/install --engine && rm -rf ~/.cache

# The demo's text is part of the image. Its directory is also where tokenised data goes, whoever the user is.
COPY . .
ENV HVDTRAIN_CACHE=/opt/hvdtrain-cache
RUN scripts/install --no-dev && chmod -R a+rwX "$HVDTRAIN_CACHE" && rm "$HVDTRAIN_VENV/.hvdtrain/install.log"

# ---- run --------------------------------------------------------------------------------------------------------------
FROM ${RUNTIME_BASE}
# openssh-client: horovodrun reaches other hosts by ssh. Open MPI's run time and mpirun, for Horovod's second controller.
RUN apt-get update \
    && python=$(command -v python3 > /dev/null || echo python3) \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates openssh-client openmpi-bin $python \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --shell /bin/bash hvdtrain \
    && install -d -o hvdtrain -g hvdtrain -m 0777 /work /opt/hvdtrain-cache \
    && chmod 0777 /home/hvdtrain
COPY --from=build /opt/hvdtrain /opt/hvdtrain
COPY --from=build /opt/hvdtrain-cache /opt/hvdtrain-cache

# HOME: horovodrun keeps notes in ~/.horovod, also under a user that the image does not know (docker run --user "$(id -u)").
# OMPI_MCA_btl_vader_single_copy_mechanism: Open MPI's direct reads of another process are refused in a container, with an
# error a message; through shared memory it works everywhere.
ENV PATH=/opt/hvdtrain/bin:$PATH \
    HOME=/home/hvdtrain \
    HVDTRAIN_CACHE=/opt/hvdtrain-cache \
    OMPI_MCA_btl_vader_single_copy_mechanism=none \
    PYTHONDONTWRITEBYTECODE=1
USER hvdtrain
WORKDIR /work
ENTRYPOINT ["hvdtrain"]
CMD ["--help"]
