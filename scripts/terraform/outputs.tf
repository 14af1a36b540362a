output "host_policy_arn" {
  description = "To be attached to the role of each host."
  value       = aws_iam_policy.host.arn
}

output "setup_policy_json" {
  description = "What `keyfs check --create-table` needs, where the table isn't made here."
  value       = data.aws_iam_policy_document.setup.json
}

output "signing_host_policy_arn" {
  description = "To be attached to the role of each host that signs with keys in KMS."
  value       = one(aws_iam_policy.signing_host[*].arn)
}

output "signing_admin_policy_arn" {
  description = "To be attached, besides, to the role that runs `keyfs sign create` and rotate."
  value       = one(aws_iam_policy.signing_admin[*].arn)
}

output "spire_policy_arn" {
  description = "To be attached, besides both policies for signing, to the role of a SPIRE server with keyfs-spire."
  value       = one(aws_iam_policy.spire[*].arn)
}

output "keyfs_ini" {
  description = "The sections of /etc/keyfs/keyfs.ini for what was made: terraform output -raw keyfs_ini"
  value = join("\n", concat(
    [
      "[store]",
      "type = dynamodb",
      "table = ${aws_dynamodb_table.records.name}",
      "regions = ${join(", ", var.regions)}",
    ],
    flatten([
      for region in var.regions : [
        "",
        "[region ${region}]",
        "type = aws",
        "key = ${aws_kms_key.master[region].arn}",
      ]
    ]),
    length(var.signing_regions) == 0 ? [] : [
      "",
      "[signing]",
      "custody = kms",
      "name = ${var.signing_name}",
      "regions = ${join(", ", var.signing_regions)}",
      "key_tags = keyfs-signing=${var.signing_name}",
    ],
    [""],
  ))
}
