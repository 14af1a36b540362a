variable "name" {
  description = "What the table, the aliases of the keys and the policies are called."
  type        = string
  default     = "keyfs"
}

variable "regions" {
  description = "Where there is a master key and a replica of the table. The first one is the table's home: list the same first region in every host's keyfs.ini."
  type        = list(string)
  default     = ["us-east-1", "us-east-2", "us-west-2"]

  validation {
    condition     = length(var.regions) > 0 && length(var.regions) == length(distinct(var.regions))
    error_message = "At least one region, and each one once."
  }
}

variable "consistency" {
  description = "STRONG: new keys are made while any one region is out; takes exactly three regions of one region set (US, EU or AP). EVENTUAL: any regions, and no new keys while the first is out. Can't be changed once the table holds anything."
  type        = string
  default     = "STRONG"

  validation {
    condition     = contains(["STRONG", "EVENTUAL"], var.consistency)
    error_message = "STRONG or EVENTUAL."
  }
}

variable "signing_regions" {
  description = "Where signing keys of custody kms are; the first is where they are made. Empty: no policies for signing are made."
  type        = list(string)
  default     = []
}

variable "signing_name" {
  description = "`name` of [signing] in keyfs.ini: aliases are alias/KEYFS/NAME/ID."
  type        = string
  default     = "default"
}

variable "spire_trust_domain" {
  description = "A SPIRE server's trust domain as it is written in aliases, with _ for each dot: example_org. Empty: no policy for SPIRE."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
