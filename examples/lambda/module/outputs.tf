output "function_arn" {
  description = "The function's ARN."
  value       = aws_lambda_function.this.arn
}

output "security_group_id" {
  description = "The function's security group: the database's has to let it in at port 5432."
  value       = aws_security_group.function.id
}
