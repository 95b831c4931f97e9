create unique index manifests_by_sequence on manifests (export, sequence)
