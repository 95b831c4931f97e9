{# Returns the rows for which the expression is false or null. dbt_utils accepts null; this does
   not. #}
{% test expression_is_true(model, expression, column_name=none) %}

select *
from {{ model }}
where not coalesce({{ column_name or '' }} {{ expression }}, false)

{% endtest %}
