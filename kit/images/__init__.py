"""Chapter 05: container images, whose parts are the files here and whose formats are the OCI image-spec's."""
