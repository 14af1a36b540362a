# A master key in each region, none of which knows of the others: a region, or a key that somebody schedules for deletion, can fail alone.
resource "aws_kms_key" "master" {
  for_each = toset(var.regions)
  region   = each.value

  description             = "Wraps the data keys of ${var.name}."
  enable_key_rotation     = true # what older material wrapped stays readable
  deletion_window_in_days = 30
  tags                    = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "master" {
  for_each = aws_kms_key.master
  region   = each.key

  name          = "alias/${var.name}"
  target_key_id = each.value.key_id
}
