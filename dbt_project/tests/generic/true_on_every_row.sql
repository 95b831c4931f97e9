{# Rows for which the condition is false or null. #}
{% test true_on_every_row(model, condition) %}

select *
from {{ model }}
where not coalesce({{ condition }}, false)

{% endtest %}
