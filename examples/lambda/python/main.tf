# A function in Python with the extension, which logs in with IAM tokens. The function has no password and no AWS SDK for it.
#
#   make layer                                  # in the repository
#   pip install --target package --platform manylinux2014_aarch64 --only-binary :all: 'psycopg[binary]'
#   (cd package && zip -r ../function.zip .) && zip function.zip app.py

module "function" {
  source = "../module"

  name    = "orders-python"
  package = "${path.module}/function.zip"
  runtime = "python3.13"
  handler = "app.handler"
  layers  = [aws_lambda_layer_version.fairlead.arn]
  dsn     = "postgres://app@${var.cluster_endpoint}/app?auth=iam"

  vpc_id               = var.vpc_id
  subnet_ids           = var.subnet_ids
  database_cidr_blocks = var.database_cidr_blocks
  cluster_resource_id  = var.cluster_resource_id
}

resource "aws_lambda_layer_version" "fairlead" {
  layer_name               = "fairlead"
  filename                 = "${path.module}/../../../out/fairlead-lambda-arm64.zip"
  source_code_hash         = filebase64sha256("${path.module}/../../../out/fairlead-lambda-arm64.zip")
  compatible_architectures = ["arm64"]
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
