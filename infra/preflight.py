"""What `make deploy` asks the account before it changes anything: preflight.py ASSEMBLY

The scanning of images is one setting for the whole registry of an account and region, and a stack that has it replaces
what is there. So it is not deployed over rules that somebody made for other repositories.
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from leftovers import stack_of

SCANNING = "AWS::ECR::RegistryScanningConfiguration"


def scanned_repositories(template: dict[str, Any], account: str, region: str) -> set[str]:
    """The repositories whose images the stack has scanned; none if it leaves the registry's setting alone."""
    rules = [
        rule
        for resource in template["Resources"].values()
        if resource["Type"] == SCANNING
        for rule in resource["Properties"]["Rules"]
    ]
    names = [repository["Filter"] for rule in rules for repository in rule["RepositoryFilters"]]
    texts = [name["Fn::Sub"] if isinstance(name, dict) else name for name in names]
    return {text.replace("${AWS::AccountId}", account).replace("${AWS::Region}", region) for text in texts}


def overwritten_rules(template: dict[str, Any], ecr: Any) -> list[str]:
    """Filters of the registry's rules that deploying the template would remove and that are not its own."""
    answer = ecr.get_registry_scanning_configuration()
    own = scanned_repositories(template, answer["registryId"], ecr.meta.region_name)
    if not own:
        return []
    rules = answer["scanningConfiguration"].get("rules", ())
    found = {repository["filter"] for rule in rules for repository in rule["repositoryFilters"]}
    return sorted(found - own)


def main(assembly: Path) -> None:
    _, region = stack_of(assembly)
    template = json.loads((assembly / "Transcription.template.json").read_text())
    try:
        others = overwritten_rules(template, boto3.client("ecr", region_name=region))
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"Nothing was deployed. AWS was asked how the registry scans images: {error}")
    if others:
        sys.exit(
            f"Nothing was deployed. The account's registry already has rules for scanning ({', '.join(others)}), "
            'which image_scanning would replace. Set image_scanning = "OFF" in the settings to leave them as they are.'
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
