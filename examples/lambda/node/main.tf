# A function in Node.js with the extension, which logs in with a secret of Secrets Manager and follows its rotation.
#
#   make layer                                  # in the repository
#   npm install --omit=dev && zip -r function.zip index.mjs package.json node_modules

module "function" {
  source = "../module"

  name    = "orders-node"
  package = "${path.module}/function.zip"
  runtime = "nodejs22.x"
  handler = "index.handler"
  layers  = [aws_lambda_layer_version.fairlead.arn]
  dsn     = "postgres://${var.cluster_endpoint}/app?auth=secret&secret_id=${var.secret_arn}&sslmode=verify-full"
  environment = {
    FAIRLEAD_FREEZE = "close"
  }

  vpc_id               = var.vpc_id
  subnet_ids           = var.subnet_ids
  database_cidr_blocks = var.database_cidr_blocks
  secret_arn           = var.secret_arn
}

resource "aws_lambda_layer_version" "fairlead" {
  layer_name               = "fairlead"
  filename                 = "${path.module}/../../../out/fairlead-lambda-arm64.zip"
  source_code_hash         = filebase64sha256("${path.module}/../../../out/fairlead-lambda-arm64.zip")
  compatible_architectures = ["arm64"]
}

variable "secret_arn" {
  description = "The secret with user name and password."
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
