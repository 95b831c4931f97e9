# The orchestrator, without Spark: docker build --tag event-based-export:0.1.0 .
# The stage `sftp` is the server of compose.yml.
FROM python:3.11.14-slim-bookworm AS base
# A volume keeps its owner, so the number is fixed.
RUN useradd --uid 10001 --create-home orchestrate

FROM base AS build
RUN python -m venv /opt/orchestrate
ENV PATH=/opt/orchestrate/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY requirements.lock ./
RUN pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY profiles profiles
COPY dbt_project dbt_project
COPY orchestrator orchestrator
RUN pip install --no-deps --no-build-isolation .
# Nothing is installed at run time, so the image has no installer.
RUN pip uninstall --yes setuptools pip

# OpenSSH's sshd, as the tests start it.
FROM base AS sftp
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-server \
    && rm --recursive --force /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
    && install --directory --owner=orchestrate /server /keys /files
COPY container/sftp.sh /usr/local/bin/sftp.sh
USER orchestrate
EXPOSE 2222
ENTRYPOINT ["sh", "/usr/local/bin/sftp.sh"]

FROM base
RUN pip uninstall --yes setuptools wheel pip
RUN install --directory --owner=orchestrate /exports
COPY --from=build /opt/orchestrate /opt/orchestrate
ENV PATH=/opt/orchestrate/bin:$PATH
USER orchestrate
# exports.yml, and next to it the ledger, the outbox and a DuckDB warehouse.
WORKDIR /exports
VOLUME /exports
ENTRYPOINT ["orchestrate"]
