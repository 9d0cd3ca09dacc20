"""A local AWS for the pipeline: moto's server, with Batch jobs that run real processes or containers.

The local AWS deploys the same synthesised template as AWS, unchanged. These modules add what moto lacks: `batch`
(jobs), `cloudformation` (resources), `s3` (keys, conditions and bucket policies), `authorization` (roles' policies).
"""
