"""List prices of us-east-1 in US dollars, as docs/costs.md has them with their sources. A month has 730 hours."""

from __future__ import annotations

HOURS = 730
NIGHTS = 365 / 12

VCPU_HOUR = 0.04048
GB_HOUR = 0.004445
STORAGE_GB_HOUR = 0.000111
PUBLIC_ADDRESS_HOUR = 0.005
MWAA_MICRO_HOUR = 0.29
MWAA_DATABASE_GB = 0.10
NAT_HOUR = 0.045
KMS_KEY = 1.00
ALARM_METRIC = 0.10
DASHBOARD = 3.00
CUSTOM_METRIC = 0.30
REGISTRY_GB = 0.10
LOG_GB = 0.50
TRANSCRIBE_AUDIO_HOUR = 0.36
