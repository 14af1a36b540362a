# Signing keys of custody kms: [signing] in keyfs.ini with name = var.signing_name, and
# key_tags = keyfs-signing=NAME. keyfs makes the keys itself.
#
# A key is recognized by its tag as well as by its alias: when a signing key is rotated, the old one has lost its alias and still signs for a
# while, and KMS takes up to five minutes to act by an alias that was moved.
#   https://docs.aws.amazon.com/kms/latest/developerguide/abac.html
locals {
  signing_tag = "keyfs-signing"
  # Of a multi-Region key each replica counts.
  signing_keys = [
    for region in var.signing_regions :
    "arn:${data.aws_partition.current.partition}:kms:${region}:${data.aws_caller_identity.current.account_id}:key/*"
  ]
  signing_aliases = [
    for region in var.signing_regions :
    "arn:${data.aws_partition.current.partition}:kms:${region}:${data.aws_caller_identity.current.account_id}:alias/KEYFS/${var.signing_name}/*"
  ]
}

# Hosts that sign, and neither make nor change keys.
data "aws_iam_policy_document" "signing_host" {
  statement {
    sid       = "SignByTag"
    actions   = ["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign"]
    resources = local.signing_keys

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.signing_tag}"
      values   = [var.signing_name]
    }
  }

  statement {
    sid       = "SignByAlias"
    actions   = ["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign"]
    resources = local.signing_keys

    condition {
      test     = "ForAnyValue:StringLike"
      variable = "kms:ResourceAliases"
      values   = ["alias/KEYFS/${var.signing_name}/*"]
    }
  }

  # It names no key, so it cannot be restricted to some.
  statement {
    sid       = "Names"
    actions   = ["kms:ListAliases"]
    resources = ["*"]
  }
}

# Who runs `keyfs sign create`, rotate, disable, enable and delete, besides the policy above; and the hosts that delete what was replaced.
data "aws_iam_policy_document" "signing_admin" {
  statement {
    sid       = "MakeKeys"
    actions   = ["kms:CreateKey", "kms:TagResource"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.signing_tag}"
      values   = [var.signing_name]
    }
  }

  statement {
    sid = "ChangeKeys"
    actions = [
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DisableKey",
      "kms:EnableKey",
      "kms:ReplicateKey",
      "kms:ScheduleKeyDeletion",
      "kms:UpdateAlias",
    ]
    resources = local.signing_keys

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.signing_tag}"
      values   = [var.signing_name]
    }
  }

  # An alias is a resource of its own, besides the key that it is moved from and to.
  statement {
    sid       = "MoveNames"
    actions   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    resources = local.signing_aliases
  }

  # What AWS itself needs once in an account for multi-Region keys.
  statement {
    sid       = "MultiRegion"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["mrk.kms.amazonaws.com"]
    }
  }
}

# A SPIRE server with keyfs-spire, besides what both policies above permit by the tag: its keys of before, which have none, by their alias, and the disposal of what
# other servers of the trust domain have left. Its configuration has key_tags with the same tag, and `regions` or `region` of signing_regions.
data "aws_iam_policy_document" "spire" {
  statement {
    sid = "KeysByAlias"
    actions = [
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DescribeKey",
      "kms:GetPublicKey",
      "kms:ScheduleKeyDeletion",
      "kms:Sign",
      "kms:UpdateAlias",
    ]
    resources = local.signing_keys

    condition {
      test     = "ForAnyValue:StringLike"
      variable = "kms:ResourceAliases"
      values   = ["alias/SPIRE_SERVER/${var.spire_trust_domain}/*"]
    }
  }

  statement {
    sid     = "SpireNames"
    actions = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    resources = [
      for region in var.signing_regions :
      "arn:${data.aws_partition.current.partition}:kms:${region}:${data.aws_caller_identity.current.account_id}:alias/SPIRE_SERVER/${var.spire_trust_domain}/*"
    ]
  }

  statement {
    sid       = "LookForLeftKeys"
    actions   = ["kms:DescribeKey", "kms:ListAliases", "kms:ListKeys"]
    resources = ["*"]
  }
}

resource "aws_iam_policy" "spire" {
  count = var.spire_trust_domain == "" || length(var.signing_regions) == 0 ? 0 : 1

  name        = "${var.name}-spire"
  description = "What keyfs-spire needs besides the policies for signing keys."
  policy      = data.aws_iam_policy_document.spire.json
  tags        = var.tags
}

resource "aws_iam_policy" "signing_host" {
  count = length(var.signing_regions) > 0 ? 1 : 0

  name        = "${var.name}-signing-host"
  description = "What keyfs needs to sign with the keys of alias/KEYFS/${var.signing_name}/."
  policy      = data.aws_iam_policy_document.signing_host.json
  tags        = var.tags
}

resource "aws_iam_policy" "signing_admin" {
  count = length(var.signing_regions) > 0 ? 1 : 0

  name        = "${var.name}-signing-admin"
  description = "What keyfs sign needs to make, rotate and delete the keys of alias/KEYFS/${var.signing_name}/."
  policy      = data.aws_iam_policy_document.signing_admin.json
  tags        = var.tags
}
