variable "name" {
  description = "The function's name."
  type        = string
}

variable "package" {
  description = "The path of the function's zip."
  type        = string
}

variable "runtime" {
  description = "Lambda's name of the runtime, such as python3.13."
  type        = string
}

variable "handler" {
  description = "What the runtime calls."
  type        = string
}

variable "architecture" {
  description = "arm64 or x86_64; the layer has to be for the same."
  type        = string
  default     = "arm64"
}

variable "memory_size" {
  description = "In MB. The share of a CPU grows with it."
  type        = number
  default     = 512
}

variable "timeout" {
  description = "In seconds."
  type        = number
  default     = 15
}

variable "layers" {
  description = "ARNs of layers."
  type        = list(string)
  default     = []
}

variable "environment" {
  description = "More variables of the function's environment, such as FAIRLEAD_FREEZE."
  type        = map(string)
  default     = {}
}

variable "dsn" {
  description = "The cluster's DSN. With auth=iam or auth=secret there is no password in it."
  type        = string
}

variable "vpc_id" {
  description = "The VPC of the database."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets that reach the database, and AWS by a NAT gateway or endpoints."
  type        = list(string)
}

variable "database_cidr_blocks" {
  description = "Where the database is."
  type        = list(string)
}

variable "database_user" {
  description = "Whom the function logs in as; for auth=iam."
  type        = string
  default     = "app"
}

variable "cluster_resource_id" {
  description = "The cluster's resource ID, cluster-ABC…; for auth=iam."
  type        = string
  default     = null
}

variable "secret_arn" {
  description = "The secret's ARN; for auth=secret."
  type        = string
  default     = null
}
