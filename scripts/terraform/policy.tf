data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  tables = [
    for region in var.regions :
    "arn:${data.aws_partition.current.partition}:dynamodb:${region}:${data.aws_caller_identity.current.account_id}:table/${var.name}"
  ]
  board = "${local.tables[0]}-board"
}

# All that a host needs which reads, makes, heals and administers keys. Nothing here makes, changes or deletes a master key or a table.
data "aws_iam_policy_document" "host" {
  statement {
    sid       = "MasterKeys"
    actions   = ["kms:GenerateDataKey", "kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"]
    resources = [for key in aws_kms_key.master : key.arn]
  }

  statement {
    sid = "Records"
    actions = [
      "dynamodb:DeleteItem",
      "dynamodb:DescribeTable",
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:Scan",
      "dynamodb:UpdateItem",
    ]
    resources = local.tables
  }

  statement {
    sid = "Board"
    actions = [
      "dynamodb:DeleteItem",
      "dynamodb:DescribeTable",
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:Query",
    ]
    resources = [local.board]
  }

  # What `keyfs check` looks at. Without it, it says that it can't tell.
  statement {
    sid       = "Backups"
    actions   = ["dynamodb:DescribeContinuousBackups"]
    resources = local.tables
  }
}

# For who runs `keyfs check --create-table` in place of table.tf; keyfs itself never needs it.
data "aws_iam_policy_document" "setup" {
  statement {
    sid       = "Table"
    actions   = ["dynamodb:CreateTable", "dynamodb:DescribeTable", "dynamodb:UpdateContinuousBackups"]
    resources = [local.tables[0]]
  }

  statement {
    sid       = "BoardTable"
    actions   = ["dynamodb:CreateTable", "dynamodb:DescribeTable"]
    resources = [local.board]
  }
}

resource "aws_iam_policy" "host" {
  name        = "${var.name}-host"
  description = "What keyfs needs on each host."
  policy      = data.aws_iam_policy_document.host.json
  tags        = var.tags
}
