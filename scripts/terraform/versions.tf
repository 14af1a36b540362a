# `region` on each resource, which lets one provider make keys in several regions, came with version 6 of the provider.
terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

provider "aws" {
  region = var.regions[0]
}
