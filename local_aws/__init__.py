"""The pipeline's AWS on one machine: moto's server with Batch containers that really run.

The same synthesised template that goes to AWS is deployed to it unchanged. What moto lacks is
restored here, module by module: `batch` (jobs), `cloudformation` (resources), `s3` (keys and policies).
"""
