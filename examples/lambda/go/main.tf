# A function in Go. It needs no layer: the driver is in it.
#
#   GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -trimpath -tags lambda.norpc -o bootstrap . && zip function.zip bootstrap

module "function" {
  source = "../module"

  name    = "orders-go"
  package = "${path.module}/function.zip"
  runtime = "provided.al2023"
  handler = "bootstrap"
  dsn     = "postgres://app@${var.cluster_endpoint}/app?auth=iam"

  vpc_id               = var.vpc_id
  subnet_ids           = var.subnet_ids
  database_cidr_blocks = var.database_cidr_blocks
  cluster_resource_id  = var.cluster_resource_id
}

variable "cluster_resource_id" {
  description = "The cluster's resource ID, cluster-ABC…"
  type        = string
}

variable "cluster_endpoint" {
  description = "The writer endpoint of the cluster."
  type        = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

variable "database_cidr_blocks" {
  type = list(string)
}
