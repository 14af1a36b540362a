output "host_policy_arn" {
  description = "To be attached to the role of each host."
  value       = aws_iam_policy.host.arn
}

output "setup_policy_json" {
  description = "What `keyfs check --create-table` needs, where the table isn't made here."
  value       = data.aws_iam_policy_document.setup.json
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
    [""],
  ))
}
