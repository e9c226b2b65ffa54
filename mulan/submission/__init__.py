"""Jobs submitted to a cluster from another machine: packing, job servers, cluster launchers, KubeRay, retries."""
