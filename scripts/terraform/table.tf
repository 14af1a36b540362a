# The records: id, record and revision, all of them text. Only the id is part of the schema.
resource "aws_dynamodb_table" "records" {
  region = var.regions[0]

  name                        = var.name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = true
  tags                        = var.tags

  # What Global Tables ask for.
  stream_enabled   = length(var.regions) > 1
  stream_view_type = length(var.regions) > 1 ? "NEW_AND_OLD_IMAGES" : null

  attribute {
    name = "id"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  dynamic "replica" {
    for_each = toset(slice(var.regions, 1, length(var.regions)))

    content {
      region_name                 = replica.value
      consistency_mode            = var.consistency
      deletion_protection_enabled = true
      point_in_time_recovery      = true
      propagate_tags              = true
    }
  }

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = var.consistency != "STRONG" || contains([1, 3], length(var.regions))
      error_message = "A table in the strong mode has replicas in three regions."
    }
  }
}

# The board, by which hosts rotate keys together: small documents without keys, at home only. What it holds can be lost without losing a key.
resource "aws_dynamodb_table" "board" {
  region = var.regions[0]

  name                        = "${var.name}-board"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "part"
  range_key                   = "name"
  deletion_protection_enabled = true
  tags                        = var.tags

  attribute {
    name = "part"
    type = "S"
  }

  attribute {
    name = "name"
    type = "S"
  }
}
